"""The agents of `benchmarks.limits`: steps that answer 200 bytes or make a list, and messages that do nothing."""

import random

from orchestrator import Agent, AgentMessage

queued = Agent("queued", concurrency=1)
bystander = Agent("bystander", concurrency=1)  # its worker keeps, while nobody serves the other


@queued.task
def go(value: int = 0) -> str:
    return random.randbytes(99).hex()  # 200 bytes with its quotes; letters all the same would be compressed away


@queued.task
def numbers(count: int) -> list[int]:
    return list(range(count))


@queued.on_message
def hear(message: AgentMessage) -> None: ...
