"""What a handler does, whichever system with workers calls it."""

import os
import time
from functools import cache

import redis


@cache
def server() -> redis.Redis:
    """One connection for a process, apart from what the system itself uses."""
    return redis.Redis(unix_socket_path=os.environ["BENCH_SOCKET"], decode_responses=True)


def tell(key: str) -> None:
    """Put the time of now, by the machine's one monotonic clock, into the list that the driver waits on."""
    now_s = time.monotonic()
    server().rpush(key, now_s)


def handle(text: str) -> None:
    """A message says what to do: `tell KEY`, `work MILLISECONDS`, or `hold KEY`, which waits for an entry in a list."""
    word, argument = text.split()[:2]
    if word == "tell":
        tell(argument)
    elif word == "work":
        time.sleep(float(argument) / 1e3)
    elif word == "hold":
        tell(f"{argument}:held")
        server().blpop([argument])
