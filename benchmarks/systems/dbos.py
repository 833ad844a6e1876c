"""DBOS: durable functions of the program that calls them, each step recorded in sqlite.

A workflow is started in this program, as DBOS does it. A fan and messages go through a queue that this program serves,
and that DBOS looks at once a second unless told otherwise; submits are those of a client that does not serve it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from dbos import DBOS, DBOSClient

from benchmarks.systems.protocol import ANSWER, FOLDER, PIECE, Answer, LeftOut, serve

URL = f"sqlite:///{FOLDER}/dbos.sqlite"
QUEUE, UNSERVED = "messages", "unserved"
SHARE = 10  # of a backlog, one in so many messages: all of them would take minutes

started: queue.SimpleQueue[float] = queue.SimpleQueue()  # when the handlers of messages started
release = threading.Event()


@DBOS.step()
def go() -> str:
    return ANSWER


@DBOS.step()
def add() -> str:
    return PIECE


@DBOS.step()
def read(pieces: list[str]) -> int:
    return sum(map(len, pieces))


@DBOS.workflow()
def sequence(steps: int) -> None:
    for _ in range(steps):
        go()


@DBOS.workflow()
def payload(steps: int) -> int:
    return read([add() for _ in range(steps)])


@DBOS.workflow()
def one() -> str:
    return go()


@DBOS.workflow()
def fan(width: int) -> str:
    for handle in [DBOS.enqueue_workflow(QUEUE, one) for _ in range(width)]:
        handle.get_result()
    return go()


@DBOS.workflow()
def note() -> None:
    started.put(time.monotonic())


@DBOS.workflow()
def work(work_ms: float) -> None:
    time.sleep(work_ms / 1e3)


@DBOS.workflow()
def hold() -> None:
    started.put(time.monotonic())
    release.wait()


class Dbos:
    cannot: ClassVar[dict[str, str]] = {"launch": "a worker is a program of the user's own"}

    def __init__(self) -> None:
        DBOS(config={"name": "bench", "system_database_url": URL, "log_level": "ERROR"})
        DBOS.listen_queues([QUEUE])
        DBOS.launch()
        self._queue = DBOS.register_queue(QUEUE)
        DBOS.register_queue(UNSERVED)

    def start(self, agents: Sequence[str]) -> Answer:
        if len(agents) > 1:
            raise LeftOut("it knows no agents with queues of their own")
        self.sequence(100, agents)
        return {}

    def stop(self) -> None:
        """The end of the program ends it."""

    def sequence(self, steps: int, agents: Sequence[str]) -> Answer:
        return _timed(sequence, steps)

    def payload(self, steps: int) -> Answer:
        return _timed(payload, steps)

    def fan(self, width: int, form: str) -> Answer:
        return _timed(fan, width)

    def throughput(self, workflows: int, steps: int, agents: Sequence[str]) -> Answer:
        began = time.monotonic()
        for handle in [DBOS.start_workflow(sequence, steps) for _ in range(workflows)]:
            handle.get_result()
        return {"s": time.monotonic() - began}

    def submit(self, workflows: int, steps: int, agents: Sequence[str]) -> Answer:
        client = DBOSClient(system_database_url=URL)
        began = time.monotonic()
        for _ in range(workflows):
            client.enqueue({"queue_name": UNSERVED, "workflow_name": "sequence"}, steps)
        return {"s": time.monotonic() - began}

    def message(self) -> Answer:
        sent = time.monotonic()
        DBOS.enqueue_workflow(QUEUE, note)
        return {"s": started.get() - sent}

    def backlog(self, messages: int, work_ms: float, urgent_every_s: float | None = None) -> Answer:
        """A tenth of it."""
        if urgent_every_s:
            raise LeftOut("whatever the priority, its queue is looked at once a second")
        release.clear()
        self._queue.set_worker_concurrency(1)
        DBOS.enqueue_workflow(QUEUE, hold)
        started.get()
        for _ in range(messages // SHARE):
            DBOS.enqueue_workflow(QUEUE, work, work_ms)
        last = DBOS.enqueue_workflow(QUEUE, note)
        self._queue.set_worker_concurrency(None)
        began = time.monotonic()
        release.set()
        took = started.get() - began
        last.get_result()
        return {"s": took, "units": messages // SHARE}


def _timed(workflow: Callable[[int], object], size: int) -> Answer:
    began = time.monotonic()
    DBOS.start_workflow(workflow, size).get_result()
    return {"s": time.monotonic() - began}


if __name__ == "__main__":
    serve(Dbos(), "dbos")
