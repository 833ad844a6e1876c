"""F27: whoever is offered a task dies before, at or after accepting it; and several accept it at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest

from orchestrator.crashpoints import VARIABLE, CrashPoint
from orchestrator.records import MessageRecord
from orchestrator.states import HANDOFF_TRANSITIONS, HandoffState
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book, Pen, Try
from tests.faults.senders import Sender
from tests.faults.trial import Target, Trial

HANDOFFS = 200
RATE = 5.0
LEASE_S = 1.0
HANDLER_MS = 50
TERMINALS = 3  # that accept at once, beside two workers
#: Before the task is accepted, between that and its beginning, while it is worked, and after it is done.
POINTS = (
    CrashPoint.POPPED, CrashPoint.LEASED, CrashPoint.HANDLER_BEGUN, CrashPoint.EFFECT_DONE, CrashPoint.RESULT_RECORDED,
)  # fmt: skip


@pytest.mark.fault("F27", "handoff: crash before, between, after accept; two accept")
@pytest.mark.timeout(400)
def test_a_task_that_changes_hands_has_one_owner(trial: Trial) -> None:
    each = max(6, trial.scale(HANDOFFS) // (len(POINTS) + 1))
    fleet = trial.fleet(lease_s=LEASE_S, max_losses=1000)
    fleet.start("alpha", concurrency=2)
    for point in POINTS:
        (weak,) = fleet.start("alpha", concurrency=2, environment={VARIABLE: point})  # whenever it comes there
        with hand_off(trial, fleet, f"{point}", each):
            pass
        assert trial.judge(fleet).counts["lost"] == 0
        weak.kill()
        fleet.workers.remove(weak)
    fleet.client.office.directory.register("ada")  # nobody but the terminals
    accepted: dict[str, list[str]] = {}
    with hand_off(trial, fleet, "raced", each, accepted):
        pass
    verdict = trial.judge(fleet)
    book = Book.read(trial.oracle)
    records = {key: fleet.client.message(str(fate.id)) for key, fate in book.fates.items()}
    false = [line for key, record in records.items() if (line := find_false(key, record))]
    twice = [key for key, tries in book.tries_of.items() if overlap(tries)]
    many = [key for key, names in accepted.items() if len(names) > 1]
    print("\n".join([*false, *map(str, twice), *many]))
    trial.report(
        verdict,
        [
            Target("orphans", verdict.counts["lost"], 0),
            Target("impossible chains of custody", len(false), 0),
            Target("worked by two at the same time", len(twice), 0),
            Target("accepted by two", len(many), 0),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{len(records)} handoffs, {len(POINTS)} places to crash; {TERMINALS} terminals accept at once",
        counts={
            "handoffs": len(records),
            "accepted_again": sum(len(record.attempts) - 1 for record in records.values()),
            "accepted_at_a_terminal": sum(map(len, accepted.values())),
        },
    )


def hand_off(trial: Trial, fleet: Fleet, name: str, total: int, accepted: dict[str, list[str]] | None = None) -> Sender:
    """Offer tasks to alpha. With `accepted` also to ada, and terminals try to accept each at once: noted is who."""

    def offer(number: int, key: str) -> str:
        to = "ada" if accepted is not None and number % 2 else "alpha"
        values = {"key": key, "ms": HANDLER_MS}
        receipt = fleet.client.handoff(to, "link", values, sender="tester", idempotency_key=key)
        if accepted is not None:
            accepted[key] = accept_at_once(trial, fleet, key, receipt.message_id)
        return receipt.message_id

    return Sender(trial.oracle, offer, kind="message", name=name, total=total, rate=RATE, threads=1)


def accept_at_once(trial: Trial, fleet: Fleet, key: str, task_id: str) -> list[str]:
    """The names of those that have accepted the task; they complete it."""
    inbox, box = fleet.client.office.inbox, fleet.client.message(task_id).box
    winners: list[str] = []
    start = threading.Barrier(TERMINALS)

    def accept(name: str) -> None:
        pen = Pen(trial.oracle, name)
        start.wait()
        taken = inbox.claim([box], receiver=name, lease_ms=0, message_id=task_id, handoff_state="accepted")
        if taken is not None:
            winners.append(name)
            where = {"step": "", "attempt": taken.attempt, "run": "", "message": task_id}
            for what in ("start", "effect", "end"):
                pen.write(what, key, **where)
            inbox.finish(task_id, "acknowledged", receiver=name, box=box, result='"by hand"')
        pen.close()

    threads = [threading.Thread(target=accept, args=(f"terminal-{n}",)) for n in range(TERMINALS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return winners


def overlap(tries: Sequence[Try]) -> bool:
    """Whether one began before another one had ended; one that never ends was killed."""
    return any(before.end_s is not None and after.start_s < before.end_s for before, after in pairwise(tries))


def find_false(key: str, record: MessageRecord) -> str | None:
    """What is impossible in the chain of custody of a task that is completed."""
    states = [HandoffState(link.state) for link in record.custody]
    for before, after in pairwise(states):
        if after not in HANDOFF_TRANSITIONS[before]:
            return f"{key}: {before} -> {after}"
    if states[-1:] != [HandoffState.COMPLETED] or record.owner != record.message.to_agent:
        return f"{key}: ends {states[-1:]}, owner {record.owner}"
    accepted, attempts = states.count(HandoffState.ACCEPTED), len(record.attempts)
    return None if accepted == attempts else f"{key}: accepted {accepted} times, {attempts} attempts"
