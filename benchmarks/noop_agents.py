"""The agent of the benchmarks: it does nothing and answers 200 bytes; of a message it notes when it came."""

import os
import time
from functools import cache

import redis

from orchestrator import Agent, AgentMessage

noop = Agent("noop", concurrency=2)


@noop.task
def go() -> str:
    return "x" * 200


@cache
def watch() -> redis.Redis:
    """One connection for a worker's process."""
    return redis.Redis.from_url(os.environ["WATCH"])


@noop.on_message
def note(message: AgentMessage) -> None:
    started_s = time.monotonic()
    watch().rpush(message.text or "", started_s)
