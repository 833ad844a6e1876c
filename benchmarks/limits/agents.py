"""The agents of `benchmarks.limits`: a step that answers 200 bytes, and one that makes a list."""

import random

from orchestrator import Agent

queued = Agent("queued", concurrency=1)
bystander = Agent("bystander", concurrency=1)  # its worker keeps, while nobody serves the other


@queued.task
def go(value: int = 0) -> str:
    return random.randbytes(99).hex()  # 200 bytes with its quotes; letters all the same would be compressed away


@queued.task
def numbers(count: int) -> list[int]:
    return list(range(count))
