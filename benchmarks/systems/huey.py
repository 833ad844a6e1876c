"""Huey: pipelines and chords, one consumer with two processes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from huey import chord

from benchmarks.systems.driver import Driver, Submit
from benchmarks.systems.huey_app import add, go, last, note, queue, read
from benchmarks.systems.protocol import SLOTS, Answer, LeftOut, serve


class Huey(Driver):
    def command(self, agents: Sequence[str]) -> list[str]:
        consumer = str(Path(sys.executable).with_name("huey_consumer"))
        return [consumer, "benchmarks.systems.huey_app.queue", "-w", str(SLOTS), "-k", "process", "-q"]

    def start(self, agents: Sequence[str]) -> Answer:
        if len(agents) > 1:
            raise LeftOut("a pipeline has one queue")
        return super().start(agents)

    def make_sequence(self, steps: int, agents: Sequence[str]) -> Submit:
        def submit() -> None:
            pipeline = go.s()
            for _ in range(steps - 2):
                pipeline.then(go)
            queue.enqueue(pipeline.then(last, self.ended))

        return submit

    def make_payload(self, steps: int) -> Submit:
        def submit() -> None:
            pipeline = add.s("")
            for _ in range(steps - 1):
                pipeline.then(add)
            queue.enqueue(pipeline.then(read, self.ended))

        return submit

    def make_fan(self, width: int, form: str) -> Submit:
        def submit() -> None:
            queue.enqueue(chord([go.s() for _ in range(width)], last.s(self.ended)))

        return submit

    def send(self, text: str, urgent: bool = False) -> None:
        note(text)

    def backlog(self, messages: int, work_ms: float, urgent_every_s: float | None = None) -> Answer:
        if urgent_every_s:
            raise LeftOut("its usual storage knows no priorities; one that does, PriorityRedisHuey, is slower")
        return super().backlog(messages, work_ms)


if __name__ == "__main__":
    serve(Huey(), "huey")
