"""Bare Celery: chains and chords of tasks, one worker (prefork, two slots) that reads the queues of all agents."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from celery import chain, chord

from benchmarks.systems.bare_app import add, go, last, note, read
from benchmarks.systems.driver import Driver, Submit
from benchmarks.systems.protocol import SLOTS, serve

BACKLOG, URGENT = 6, 0  # the lower number goes first on Redis, and 0 is the default


class Bare(Driver):
    def command(self, agents: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "benchmarks.systems.bare_app", "worker", "-c", str(SLOTS),
                "-Q", ",".join(agents), "-l", "error"]  # fmt: skip

    def make_sequence(self, steps: int, agents: Sequence[str]) -> Submit:
        tasks = [*(go.si() for _ in range(steps - 1)), last.si(self.ended)]
        return chain(*(task.set(queue=agents[at % len(agents)]) for at, task in enumerate(tasks))).apply_async

    def make_payload(self, steps: int) -> Submit:
        tasks = [add.s(""), *(add.s() for _ in range(steps - 1)), read.s(self.ended)]
        return chain(*(task.set(queue="solo") for task in tasks)).apply_async

    def make_fan(self, width: int, form: str) -> Submit:
        header, body = [go.si().set(queue="solo") for _ in range(width)], last.si(self.ended).set(queue="solo")
        return chord(header, body).apply_async

    def send(self, text: str, urgent: bool = False) -> None:
        note.apply_async((text,), queue="solo", priority=URGENT if urgent else BACKLOG)


if __name__ == "__main__":
    serve(Bare(), "celery", "kombu", "redis", "hiredis")
    os._exit(0)  # results that are collected after the end of the interpreter complain, one by one
