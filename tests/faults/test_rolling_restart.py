"""F05: all workers are replaced one by one while messages come: by SIGTERM, which lets them finish, then by SIGQUIT."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pytest

from tests.faults.checker import Checker
from tests.faults.fleet import Fleet, Worker
from tests.faults.oracle import Book, Try
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

WORKERS, CONCURRENCY = 4, 2
RATE = 50.0
SECONDS = 60
LEASE_S = 2.0
BUSY = 0.65  # of the slots of all workers: so much is cut off by a stop that does not wait


@pytest.mark.fault("F05", "rolling restart by SIGTERM, then by SIGQUIT")
@pytest.mark.timeout(400)
def test_nothing_is_lost_in_a_rolling_restart(trial: Trial) -> None:
    seconds, rate = trial.scale(SECONDS), max(20.0, RATE * trial.load)
    fleet = trial.fleet(lease_s=LEASE_S)
    fleet.start("alpha", each=WORKERS, concurrency=CONCURRENCY)
    restarts = {
        name: roll(trial, fleet, name, restart, seconds=seconds, rate=rate)
        for name, restart in (("term", restart_by_term), ("quit", restart_by_quit))
    }
    verdict = trial.judge(fleet)
    tries_of = Book.read(trial.oracle).tries_of
    counts = {f"extra_after_{name}": extra_attempts(tries_of, name) for name in restarts}
    sent = {name: sum(key.startswith(name) for key, _ in tries_of) for name in restarts}
    trial.report(
        verdict,
        [
            Target("lost", verdict.counts["lost"], 0),
            Target("extra attempts by SIGTERM", 100 * counts["extra_after_term"] / sent["term"], 1, "%"),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{sum(sent.values())} messages at {rate:g}/s, {WORKERS} workers x {CONCURRENCY},"
        f" {restarts['term']} restarts by SIGTERM, {restarts['quit']} by SIGQUIT",
        counts=counts | restarts,
    )


def roll(
    trial: Trial, fleet: Fleet, name: str, restart: Callable[[Fleet, Worker], None], *, seconds: float, rate: float
) -> int:
    """Restart one worker after the other while messages come, for so long, and each of them at least once."""
    ends_s, count = time.monotonic() + seconds, 0
    body = {"ms": 1000 * BUSY * WORKERS * CONCURRENCY / rate}
    sender = trial.messages(fleet, 1_000_000, name=name, body=body, rate=rate)
    sender.start()
    while count < WORKERS or time.monotonic() < ends_s:
        restart(fleet, fleet.workers[0])
        count += 1
    sender.stop()
    sender.join()
    Checker(fleet.client, trial.oracle).settle(30)
    return count


def restart_by_term(fleet: Fleet, worker: Worker) -> None:
    worker.term()
    assert worker.wait(30) == 0
    assert not worker.pids()
    fleet.workers.remove(worker)
    fleet.start(worker.agent, concurrency=CONCURRENCY)


def restart_by_quit(fleet: Fleet, worker: Worker) -> None:
    """The supervisor starts the process again."""
    (before,) = worker.pids("main")
    worker.quit()
    wait_until(partial(is_back, worker, before), what=f"the return of {worker}", timeout_s=40, every_s=0.1)
    fleet.workers.append(fleet.workers.pop(0))


def is_back(worker: Worker, before: int) -> bool:
    return worker.pids("main") != [before] and len(worker.pids("child")) == CONCURRENCY


def extra_attempts(tries_of: Mapping[tuple[str, str], Sequence[Try]], name: str) -> int:
    return sum(len(tries) - 1 for (key, _), tries in tries_of.items() if key.startswith(name))
