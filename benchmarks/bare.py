"""The same chain as bare Celery runs it: its own transport, its result backend, its defaults; prefork, two slots.

`BROKER` is the URL of the server. Nothing of the orchestrator is imported.
"""

import os
import time
from functools import cache

import redis
from celery import Celery, chain

URL = os.environ.get("BROKER", "redis://127.0.0.1:6379")
QUEUE = "bare"

app = Celery("bare", broker=URL, backend=os.environ.get("RESULTS", URL))
app.conf.update(task_default_queue=QUEUE, broker_connection_retry_on_startup=True)


@app.task
def noop() -> str:
    return "x" * 200


@app.task
def last(key: str) -> str:
    """The chain's last step tells whoever waits."""
    redis.Redis.from_url(os.environ["WATCH"]).lpush(key, "done")
    return "x" * 200


@cache
def watch() -> redis.Redis:
    """One connection for a worker's process."""
    return redis.Redis.from_url(os.environ["WATCH"])


@app.task(ignore_result=True)  # a message has no result either
def note(text: str) -> None:
    """Note when the task started in the list that the text names."""
    started_s = time.monotonic()
    watch().rpush(text, started_s)


def submit(length: int, key: str) -> None:
    """Send a chain of `length` tasks; the last one pushes to the list `key`."""
    chain(*(noop.si() for _ in range(length - 1)), last.si(key)).apply_async()
