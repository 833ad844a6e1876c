"""F20: a worker is frozen for longer than its lease, its work is done by another one, and then it answers after all."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pytest

from orchestrator import Client
from tests.faults.agents import ONE
from tests.faults.checker import Checker
from tests.faults.fleet import Fleet, Worker
from tests.faults.oracle import Book, Try
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

ZOMBIES = 100
CONCURRENCY = 4
HANDLER_MS = 500
LEASE_S = 1.0
TOLD = "LeaseLost: attempt"  # what a worker writes whose answer does not count


@pytest.mark.fault("F20", "zombie: a worker frozen beyond its lease answers when another one has finished", star=True)
@pytest.mark.every_commit
@pytest.mark.timeout(400)
def test_a_late_answer_is_kept_and_counts_for_nothing(trial: Trial) -> None:
    wanted = trial.scale(ZOMBIES)
    fleet = trial.fleet(lease_s=LEASE_S)
    zombie, _ = fleet.start("alpha", each=2, concurrency=CONCURRENCY)
    late: list[Try] = []
    rounds = 0
    while len(late) < wanted:
        rounds += 1
        work = {"ms": HANDLER_MS, "kind": "pid"}
        messages = trial.messages(fleet, CONCURRENCY, name=f"m{rounds}", body=work)
        runs = trial.runs(fleet, CONCURRENCY, name=f"r{rounds}", workflow=ONE, inputs=work)
        with messages, runs:
            pass
        wait_until(lambda: len(at_work(trial, zombie)) >= CONCURRENCY / 2, what="work", timeout_s=30, every_s=0.01)
        zombie.freeze()
        late += at_work(trial, zombie)
        done = Checker(fleet.client, trial.oracle).settle(timeout_s=40)
        zombie.thaw()
        assert done, f"nobody has taken over from {zombie}"
        wait_until(partial(all_told, fleet, len(late)), what="the late answers", timeout_s=20)
    verdict = trial.judge(fleet, steps=("only",))
    recorded, kept = judge_the_late(fleet.client, Book.read(trial.oracle), late)
    trial.report(
        verdict,
        [
            Target("late results recorded", recorded, 0),
            Target("late results kept as superseded", kept, len(late), at_least=True),
            Target("told LeaseLost", fleet.log.count(TOLD), len(late), at_least=True),
        ],
        load=f"{len(late)} attempts frozen in {rounds} rounds, 2 workers x {CONCURRENCY}, lease {LEASE_S:g} s",
        counts={"late": len(late), "late_recorded": recorded, "late_kept": kept},
    )


def all_told(fleet: Fleet, count: int) -> bool:
    return fleet.log.count(TOLD) >= count


def at_work(trial: Trial, worker: Worker) -> list[Try]:
    """The attempts that this worker is in the middle of."""
    pids = worker.pids("child")
    return [one for one in Book.read(trial.oracle).tries if one.pid in pids and one.end_s is None]


def judge_the_late(client: Client, book: Book, late: Iterable[Try]) -> tuple[int, int]:
    """How many of these attempts gave their item its result, and how many are kept as superseded."""
    recorded = kept = 0
    for one in late:
        fate = book.fates[one.key]
        if fate.kind == "message":
            record = client.message(str(fate.id))
            answer = client.message(str(record.reply)).message.body
            superseded = [n for n, tried in enumerate(record.attempts, 1) if tried.superseded == "acknowledged"]
        else:
            run = client.run(str(fate.id)).document()
            answer = run["outputs"]["result"]
            superseded = [at["attempt"] for at in run["steps"]["only"]["superseded"] if at["output"] == one.pid]
        recorded += answer == one.pid
        kept += one.attempt in superseded
    return recorded, kept
