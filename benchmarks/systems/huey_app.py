"""The tasks of Huey, with its usual storage."""

import os

from huey import RedisHuey

from benchmarks.systems.handlers import handle, tell
from benchmarks.systems.protocol import ANSWER, PIECE

queue = RedisHuey("bench", url=f"unix://{os.environ['BENCH_SOCKET']}")


@queue.task()
def go(*_: object) -> str:
    """What the step before returned, which Huey's pipelines pass on, is taken and not used."""
    return ANSWER


@queue.task()
def last(key: str, *_: object) -> str:
    tell(key)
    return ANSWER


@queue.task()
def add(context: str) -> str:
    """A pipeline carries its context down: each step hands on what it got, with its own piece."""
    return context + PIECE


@queue.task()
def read(key: str, context: str) -> int:
    tell(key)
    return len(context)


@queue.task()
def note(text: str) -> None:
    handle(text)
