"""F11: the disk is full for a while; the server is the embedded one, which its guard starts again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.store.server_settings import judge_settings
from tests.faults.oracle import Book, read_lines
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

FULL_S = 20.0
SHORTEST_S = 6.0
RATE = 20.0  # messages a second
REFUSED_S = 1.0
UNKNOWN_S = 6.0  # a send whose answer was lost asks again for `deadline_s`, 5 s
RECOVERY_S = 15.0
UNTIL_STOPPED = 1_000_000

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a file system")


class Disk:
    """A file system of 1 MiB."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def fill(self) -> None:
        """Leave no byte."""
        with (self.place / "ballast").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass

    def grow(self) -> None:
        subprocess.run(["mount", "-o", "remount,size=32m", str(self.place)], check=True)


@contextmanager
def small_disk(place: Path) -> Iterator[Disk]:
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place)], check=True)
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # gone when the server is


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "durability",
    [
        pytest.param("always", marks=pytest.mark.fault("F11", "disk full, `appendfsync always`", star=True)),
        pytest.param("everysec", marks=pytest.mark.fault("F11b", "disk full, `appendfsync everysec`", star=True)),
    ],
)
def test_a_full_disk_refuses_what_it_cannot_keep(trial: Trial, durability: str) -> None:
    full_s = max(SHORTEST_S, FULL_S * trial.load)
    with small_disk(trial.folder / "state" / "data") as disk:
        fleet = trial.fleet(durability=durability)
        [worker] = fleet.start("alpha", concurrency=2)
        with trial.messages(fleet, UNTIL_STOPPED, rate=RATE, insists=True) as sender:
            wait_until(lambda: count(trial, "effect") >= RATE, what="the first messages", timeout_s=30)
            fleet.note("fault", "disk")
            disk.fill()
            wait_until(lambda: count(trial, "refused", "indeterminate"), what="a refused send", timeout_s=20)
            time.sleep(full_s)  # how long the disk is full is what is tested
            if durability == "everysec":  # the other server is gone most of the time
                found = judge_settings(fleet.client.store.client, fleet.settings)
                assert "cannot write its append-only file" in next(iter(found)).detail
            accepted, mains = count(trial, "accepted"), worker.pids("main")
            disk.grow()
            fleet.note("healed", "disk")
            wait_until(lambda: count(trial, "accepted") > accepted + RATE, what="accepted sends", timeout_s=30)
            sender.stop()
        verdict = trial.judge(fleet, timeout_s=60)
        assert worker.alive
        assert worker.pids("main") == mains, "the worker has ended"
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("refusal max", slowest_s(trial, "refused"), REFUSED_S, "s", timing=True),
                Target("unknown outcome max", slowest_s(trial, "indeterminate"), UNKNOWN_S, "s", timing=True),
                Target("recovery max", verdict.recovery["recovery_s"]["max"], RECOVERY_S, "s", timing=True),
            ],
            load=f"1 MiB, full for {full_s:g} s, {RATE:g} messages a second",
        )


def count(trial: Trial, *what: str) -> int:
    """How many lines of these kinds the oracle has."""
    return sum(line["what"] in what for line in read_lines(trial.oracle))


def slowest_s(trial: Trial, what: str) -> float:
    """From the beginning of a send to such an end of it."""
    tried: dict[str, float] = {}
    took = [0.0]
    for line in Book.read(trial.oracle).lines:
        if line["what"] == "try":
            tried[line["key"]] = line["at_s"]
        elif line["what"] == what:
            took.append(line["at_s"] - tried[line["key"]])
    return round(max(took), 3)
