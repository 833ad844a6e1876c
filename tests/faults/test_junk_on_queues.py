"""F22: junk among the messages of a queue, and messages of a version that its workers do not know yet."""

from __future__ import annotations

import subprocess
from itertools import cycle

import pytest

from orchestrator.store.routing import queue_of
from tests.faults.newer import BEFORE
from tests.faults.oracle import Book
from tests.faults.senders import sender_process
from tests.faults.trial import Target, Trial
from tests.junk import junk
from tests.waiting import wait_until

MESSAGES = 1000
JUNK_EVERY = 10
NEWER_EVERY = 20
HUGE_BYTES = 50_000_000  # once
WORKERS = 2
WAITS = "waits for a worker of a newer version"


@pytest.mark.fault("F22", "junk on the queue, and messages of a newer schema", star=True)
@pytest.mark.every_commit
@pytest.mark.timeout(300)
def test_junk_ends_no_worker_and_keeps_nothing_up(trial: Trial) -> None:
    total = trial.scale(MESSAGES)
    fleet = trial.fleet()
    old = fleet.start("alpha", each=WORKERS, concurrency=2, supervised=False)
    queue, server = queue_of("alpha"), fleet.client.store.client
    kinds = {name: raw for name, (raw, _) in junk(queue, large_bytes=HUGE_BYTES).items()}
    server.lpush(queue, kinds.pop("large"))
    pushed = 1
    turns = cycle(kinds.values())

    def body(number: int) -> dict[str, int]:
        nonlocal pushed
        if number % JUNK_EVERY == 0:
            server.lpush(queue, next(turns))
            pushed += 1
        return {}

    newer = total // NEWER_EVERY
    send = sender_process(fleet.client.url, trial.oracle, newer, name="newer")
    with trial.messages(fleet, total, body=body, threads=1):
        subprocess.run([*BEFORE, *send], check=True, timeout=60, env=fleet.environment)
    (quarantine,) = fleet.client.quarantines()
    wait_until(lambda: len(quarantine.all()) >= pushed, what="all junk in quarantine", timeout_s=60, every_s=0.2)
    kept = quarantine.all()
    ids = [fate.id for key, fate in Book.read(trial.oracle).fates.items() if key.startswith("newer")]

    def all_parked() -> bool:
        return all(record.reason == WAITS for record in fleet.client.office.inbox.read_many(ids))

    wait_until(all_parked, what="the newer messages to be parked", timeout_s=30)
    dead = sum(not worker.alive for worker in old)
    for worker in old:
        worker.term()  # they would take their turns at the parked ones, for 5 s each
    fleet.start("alpha", concurrency=2, before=BEFORE)
    verdict = trial.judge(fleet)
    trial.report(
        verdict,
        [
            Target("lost", verdict.counts["lost"], 0),
            Target("junk neither kept nor named", abs(len(kept) - pushed) + sum(not one.reason for one in kept), 0),
            Target("workers that died", dead, 0),
            Target("not done", total + newer - verdict.counts["ok"], 0),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{total} messages with {pushed} pieces of junk of {len(kinds) + 1} kinds, {newer} of a newer schema",
        counts={"junk": pushed, "quarantined": len(kept), "parked": len(ids)},
    )
