"""F26: questions whose answer comes, comes too late, twice or never, whose responder dies, and whose asker dies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from orchestrator import MessageType
from orchestrator.errors import WaitTimeout
from orchestrator.records import MessageRecord
from orchestrator.states import MessageState
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book, Pen
from tests.faults.senders import Sender
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

REQUESTS = 1000
TIMEOUT_S = 2.0
RATE = 6.0
THREADS = 32
ASKERS = 50  # that die

ANSWER = {"answer": True}
#: What the responder does, and what the asker may hear: the first or a second answer, or none in time.
KINDS = {
    "prompt": (ANSWER, {"first"}),
    "twice": (ANSWER, {"first", "second"}),
    "late": (ANSWER | {"ms": 1000 * TIMEOUT_S + 1000}, {None}),
    "never": ({}, {None}),
    "dies": (ANSWER | {"kind": "die", "times": 1}, {"first", None}),
    "dies always": (ANSWER | {"kind": "die"}, {None}),
}
TURNS = ["prompt", "twice", "late", "never", "dies", "prompt", "twice", "late", "never", "dies always"]
ASK = """
import json, sys
from orchestrator import Client
Client().ask("alpha", json.loads(sys.argv[1]), timeout_s=60, sender="asker", idempotency_key=sys.argv[2])
"""


@dataclass(frozen=True)
class Outcome:
    """What an asker heard (None: nothing in time), after how many seconds, and whether it heard the same once more.

    `ended`: the question is dead, so that nobody waits for its answer.
    """

    kind: str
    message_id: str
    heard: str | None
    after_s: float
    steady: bool = True
    ended: bool = False


@pytest.mark.fault("F26", "request and reply: the responder dies, replies late, twice, never; the requester dies")
@pytest.mark.timeout(400)
def test_every_question_has_one_outcome(trial: Trial) -> None:
    total, askers = trial.scale(REQUESTS), trial.scale(ASKERS)
    fleet = trial.fleet()
    fleet.start("alpha", each=2, concurrency=10)
    outcomes: list[Outcome] = []

    def ask(number: int, key: str) -> str:
        outcomes.append(found := ask_once(fleet, key, TURNS[number % len(TURNS)]))
        return found.message_id

    with Sender(trial.oracle, ask, kind="message", name="q", total=total, rate=RATE, threads=THREADS):
        orphans = [die_while_asking(trial, fleet, f"orphan-{number}") for number in range(askers)]
    lethal = {f"q-{n}" for n in range(total) if TURNS[n % len(TURNS)] == "dies always"}
    verdict = trial.judge(fleet, endings=lambda key: {"dead"} if key in lethal else None)
    wrong = [one for one in outcomes if one.heard not in KINDS[one.kind][1] or not one.steady]
    print("\n".join(map(str, wrong)))
    times = [one.after_s for one in outcomes if one.heard is None and not one.ended]
    late = [one for one in outcomes if one.kind == "late"]
    kept = sum(reply_of(fleet, one.message_id).late for one in late)
    answered = sum(not reply_of(fleet, message_id).late for message_id in orphans)
    trial.report(
        verdict,
        [
            Target("questions without exactly one outcome", abs(total - len(outcomes)), 0),
            Target("wrong outcomes", len(wrong), 0),
            Target("time-out at the earliest", min(times), TIMEOUT_S, "s", at_least=True),
            Target("time-out at the latest", max(times), TIMEOUT_S + 0.5, "s", timing=True),
            Target("late replies kept as late", kept, len(late), at_least=True),
            Target("replies to dead askers kept", answered, askers, at_least=True),
        ],
        load=f"{total} questions, {TIMEOUT_S:g} s each, and {askers} whose asker is killed",
        counts={"timed_out": len(times), "late_kept": kept},
    )


def ask_once(fleet: Fleet, key: str, kind: str) -> Outcome:
    """What `Client.ask` does, with the id of the question."""
    began_s = time.monotonic()
    receipt = fleet.client.send(
        "alpha", {"key": key, **KINDS[kind][0]}, sender="asker", message_type=MessageType.QUESTION, awaited_s=TIMEOUT_S
    )
    if kind == "twice":
        fleet.client.office.reply(receipt, "second")
    try:
        reply = receipt.reply(TIMEOUT_S)
    except WaitTimeout:
        ended = receipt.status() is MessageState.DEAD
        return Outcome(kind, receipt.message_id, None, time.monotonic() - began_s, ended=ended)
    after_s = time.monotonic() - began_s
    steady = receipt.reply(TIMEOUT_S).message_id == reply.message_id
    return Outcome(kind, receipt.message_id, "first" if reply.text == key else reply.text, after_s, steady)


def die_while_asking(trial: Trial, fleet: Fleet, key: str) -> str:
    """A process asks and is killed while the responder works. Returns the id of the question."""
    pen, body = Pen(trial.oracle, "asker"), {"key": key, "ms": 1000, "answer": True}
    pen.write("try", key, kind="message")
    words = [sys.executable, "-c", ASK, json.dumps(body), key]
    asker = subprocess.Popen(words, env=fleet.environment, cwd=fleet.folder)
    try:
        wait_until(lambda: bool(Book.read(trial.oracle).tries_of[key, ""]), what="the question", timeout_s=30)
    finally:
        asker.kill()
        asker.wait()
    message_id = fleet.client.send("alpha", body, sender="asker", idempotency_key=key).message_id
    pen.write("accepted", key, id=message_id)
    pen.close()
    return message_id


def reply_of(fleet: Fleet, message_id: str) -> MessageRecord:
    reply = fleet.client.message(message_id).reply
    assert reply, f"no reply to {message_id} is kept"
    return fleet.client.message(reply)
