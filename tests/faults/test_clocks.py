"""F18: the clocks of single workers are hours wrong, jump, and run too fast.

libfaketime does not do here: the `time.sleep` of Python fails under it, or its waits with a time-out never end.
"""

from __future__ import annotations

import random
import struct
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from orchestrator import DeliveryOptions
from tests.faults.agents import NAMES
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book
from tests.faults.servers import build_shim
from tests.faults.trial import Target, Trial

MESSAGES = 500
LEASE_S = 1.0
HANDLER_MS = 2500  # longer than a lease
TIMED = 20  # of each kind of deadline
DELAY_S, TTL_S, TIMEOUT_S = 2.0, 2.0, 1.0
HOURS = 2 * 3600.0
JUMP_EVERY_S = 0.3
#: seconds ahead, and ahead for each second; the third one jumps between the first two
SKEWS = {"alpha": (HOURS, 0.0), "beta": (-HOURS, 0.0), "gamma": (0.0, 0.0), "delta": (0.0, 0.01)}
JUMPS = "gamma"

TIMEOUTS = """
name: hangs
inputs:
  key: {type: string}
steps:
  - {id: hang, agent: AGENT, task: link, timeout: 1s, with: {key: "${{ inputs.key }}", kind: hang}}
"""


class Clock:
    """The wrong clock of one worker's processes."""

    def __init__(self, folder: Path, agent: str) -> None:
        self._file = folder / f"clock-{agent}"
        self.environment = {"LD_PRELOAD": str(build_shim(folder, Path(__file__).with_name("clockskew.c")))}
        self.environment["CLOCK_SKEW"] = str(self._file)
        self._file.write_bytes(bytes(24))
        self.set(*SKEWS[agent])

    def set(self, ahead_s: float, drift: float = 0.0) -> None:
        with self._file.open("r+b") as file:
            file.write(struct.pack("ddd", ahead_s, drift, time.time()))


class Jumps:
    """Sets a clock to something else again and again. A context manager."""

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self._clock, self._chance = clock, chance
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.count = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(JUMP_EVERY_S):
            self._clock.set(self._chance.uniform(-HOURS, HOURS))
            self.count += 1


@pytest.mark.fault("F18", "clocks of single workers 2 h wrong, jumping, 1 % too fast")
@pytest.mark.timeout(400)
def test_no_clock_of_a_worker_is_trusted(trial: Trial) -> None:
    total, timed = trial.scale(MESSAGES), max(len(NAMES), trial.scale(TIMED))
    fleet = trial.fleet(lease_s=LEASE_S)
    clocks = {agent: Clock(trial.folder, agent) for agent in NAMES}
    for agent, clock in clocks.items():
        fleet.start(agent, concurrency=2, environment=clock.environment)
    timing = {"delivery_options": DeliveryOptions(ttl_seconds=TTL_S), "delay_s": 5 * TTL_S}
    with Jumps(clocks[JUMPS], random.Random(trial.seed + 1)) as jumps:
        with trial.messages(fleet, total, to=NAMES, body={"ms": HANDLER_MS}):
            pass
        trial.judge(fleet, timeout_s=200)
        with (
            trial.messages(fleet, timed, to=NAMES, name="delayed", options={"delay_s": DELAY_S}),
            trial.messages(fleet, timed, to=NAMES, name="expires", options=timing),
        ):
            pass
        hang(fleet, trial)
        verdict = trial.judge(fleet, endings=ending_of)
    late = lateness(fleet, Book.read(trial.oracle))
    trial.report(
        verdict,
        [
            Target("lost", verdict.counts["lost"], 0),
            Target("extra attempts", verdict.counts["extra_attempts"], 0),
            Target("deadlines missed", 2 * timed + len(NAMES) - sum(len(times) for times in late.values()), 0),
            *(Target(f"{kind} too early", -min(times), 0.05, "s") for kind, times in late.items()),
            *(Target(f"{kind} too late", max(times), 1, "s", timing=True) for kind, times in late.items()),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{total} messages of {HANDLER_MS / 1000:g} s, a lease of {LEASE_S:g} s; {timed} delays, {timed} times to "
        f"live, {len(NAMES)} time-outs; {jumps.count} jumps",
    )


def hang(fleet: Fleet, trial: Trial) -> None:
    """A step that runs into its time-out, on each agent."""
    for agent in NAMES:
        with trial.runs(fleet, 1, workflow=TIMEOUTS.replace("AGENT", agent), name=f"hangs-{agent}"):
            pass


def ending_of(key: str) -> set[str] | None:
    return {"expires": {"expired"}, "hangs": {"failed"}}.get(key.split("-")[0])


def lateness(fleet: Fleet, book: Book) -> dict[str, list[float]]:
    """Seconds from each deadline to what it brought about."""
    found: dict[str, list[float]] = {"delay": [], "time to live": [], "time-out": []}
    for key, fate in book.fates.items():
        kind = key.split("-")[0]
        if kind == "delayed":
            found["delay"].append(book.tries_of[key, ""][0].start_s - (fate.accepted_s or 0.0) - DELAY_S)
        elif kind == "expires":
            record = fleet.client.message(str(fate.id))
            found["time to live"].append(((record.finished_at or 0) - (record.expires_at or 0)) / 1000)
        elif kind == "hangs":
            step = fleet.client.store.read_steps(str(fate.id))["hang"]
            found["time-out"].append(((step.finished_at or 0) - (step.started_at or 0)) / 1000 - TIMEOUT_S)
    return found
