"""The tasks of bare Celery. Its redis transport, its redis result backend, its defaults."""

import os

from celery import Celery

from benchmarks.systems.handlers import handle, tell
from benchmarks.systems.protocol import ANSWER, PIECE

URL = f"redis+socket://{os.environ['BENCH_SOCKET']}"

app = Celery("bare", broker=URL, backend=URL)
app.conf.broker_connection_retry_on_startup = True  # the default, said aloud: without it Celery 5.7 warns


@app.task
def go() -> str:
    return ANSWER


@app.task
def last(key: str) -> str:
    tell(key)
    return ANSWER


@app.task
def add(context: str) -> str:
    """A chain carries its context down: each step hands on what it got, with its own piece."""
    return context + PIECE


@app.task
def read(context: str, key: str) -> int:
    tell(key)
    return len(context)


@app.task(ignore_result=True)  # a message of ours has no result either
def note(text: str) -> None:
    handle(text)
