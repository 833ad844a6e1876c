"""F25: broadcasts to many agents, of which some are away and some die on receipt."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults import hearers
from tests.faults.oracle import Book, Pen
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

BROADCASTS = 200
RATE = 2.0  # a second
STEADY = [f"steady{n}" for n in range(35)]
MORTAL = [f"mortal{n}" for n in range(5)]
AWAY = [f"away{n}" for n in range(10)]
EVERYBODY = [*STEADY, *MORTAL, *AWAY]
DIES_EVERY = 5
LEASE_S = 2.0  # a fifth of the default, and so is the time until a dead receiver's messages go on


class Kept:
    """A process that is started again when it dies."""

    def __init__(self, **options: Any) -> None:
        self.deaths = 0
        self._options = options
        self._over = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._process.kill()
        self._process.wait(10)

    def _start(self) -> subprocess.Popen[bytes]:
        return hearers.start(**self._options)

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            if self._process.poll() is not None:
                self.deaths += 1
                self._process = self._start()


@contextmanager
def kept(names: list[str], **options: Any) -> Iterator[Kept]:
    process = Kept(names=names, **options)
    try:
        yield process
    finally:
        process.close()


@pytest.mark.fault("F25", "broadcast to 50 agents, 10 offline, 5 die on receipt")
@pytest.mark.timeout(500)
def test_every_agent_gets_every_broadcast_once(trial: Trial) -> None:
    total = trial.scale(BROADCASTS)
    with Server(trial.folder / "server") as server:
        fleet = trial.fleet(url=server.url, durability="always", lease_s=LEASE_S, max_losses=1000)
        for name in EVERYBODY:
            fleet.client.office.directory.register(name)
        common: dict[str, Any] = {"url": server.url, "oracle": trial.oracle, "lease_s": LEASE_S}
        with kept(STEADY, **common), kept(MORTAL, dies_every=DIES_EVERY, **common) as mortals:
            wait_until(lambda: len(_online(fleet)) >= len(STEADY + MORTAL), what="the receivers", timeout_s=60)
            _broadcast(trial, fleet, total)
            assert not set(AWAY) & {key.split("-")[-1] for key, _ in Book.read(trial.oracle).tries_of}
            fleet.note("healed", "away")
            with kept(AWAY, **common):
                verdict = trial.judge(fleet, timeout_s=180)
        book = Book.read(trial.oracle)
        reached = {(key.rpartition("-")[0], key.rpartition("-")[2]) for key, _ in book.tries_of}
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("deliveries that were handled", len(reached), total * len(EVERYBODY), at_least=True),
                Target("handled again", verdict.counts["extra_attempts"], mortals.deaths * len(MORTAL)),
                Target("deaths", mortals.deaths, 1, at_least=True),
            ],
            load=f"{total} broadcasts to {len(EVERYBODY)} agents, {len(AWAY)} away, {len(MORTAL)} dying, lease 2 s",
            counts={"deaths": mortals.deaths},
        )


def _online(fleet: Any) -> set[str]:
    return {name for name, workers in fleet.online().items() if workers}


def _broadcast(trial: Trial, fleet: Any, total: int) -> None:
    """Send them, each copy with lines of its own in the oracle."""
    pen = Pen(trial.oracle, "sender-b")
    for number in range(total):
        began_s, key = time.monotonic(), f"b{number}"
        for name in EVERYBODY:
            pen.write("try", f"{key}-{name}", kind="message")
        receipts = fleet.client.broadcast({"key": key, "number": number}, sender="tester")
        for name, receipt in receipts.items():
            pen.write("accepted", f"{key}-{name}", id=receipt.message_id)
        time.sleep(max(0.0, began_s + 1 / RATE - time.monotonic()))
    pen.close()
