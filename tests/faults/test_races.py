"""F29: two want different things of one run or message at the same moment. One of them wins, and all hear who."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Client, RunState
from orchestrator.agents.post import Receipt
from orchestrator.errors import MessageNotHeld, RunOver
from orchestrator.messages import DeliveryOptions
from orchestrator.records import StepError
from orchestrator.states import MessageState
from tests.faults.agents import ONE
from tests.faults.oracle import Pen
from tests.faults.senders import Sender
from tests.faults.trial import Target, Trial

RACES = 500  # of each kind
HANDLER_MS = 30
CANCEL_WITHIN_S = 0.15
TTL_S = 0.1
BOX = "ada"  # an agent that no worker serves: the test receives its messages

TWO = """
name: two
inputs:
  key: {type: string}
steps:
  - {id: first, agent: alpha, task: link, with: {key: "${{ inputs.key }}", ms: 100}}
  - {id: second, agent: alpha, task: link, with: {key: "${{ inputs.key }}", got: "${{ steps.first.output }}"}}
"""
ENDS = {"cancel": {"succeeded", "cancelled"}, "replay": {"dead"}, "expiry": {"acknowledged", "expired"}}


@pytest.mark.fault("F29", "races: cancel against finish, replay against finish, two resume, expiry against ack")
@pytest.mark.timeout(400)
def test_every_race_has_one_winner(trial: Trial) -> None:
    total = trial.scale(RACES)
    fleet = trial.fleet()
    fleet.start("alpha", each=2, concurrency=4)
    fleet.client.office.directory.register(BOX)
    races = Races(fleet.client, trial.oracle, trial.chance)
    with ExitStack() as senders:
        for name, kind, race in (
            ("cancel", "run", races.cancel_against_finish),
            ("replay", "message", races.replay_against_finish),
            ("resume", "run", races.two_resume),
            ("expiry", "message", races.expiry_against_ack),
        ):
            senders.enter_context(Sender(trial.oracle, race, kind=kind, name=name, total=total, threads=1))
    verdict = trial.judge(fleet, endings=lambda key: ENDS.get(key.split("-")[0]))
    print("\n".join(races.wrong))
    trial.report(
        verdict,
        [Target("races with no winner, or two, or different answers", len(races.wrong), 0)],
        load=f"{total} races of each of {len(ENDS) + 1} kinds",
        counts=dict(sorted(races.won.items())),
        about="Each kind was won by either side.",
    )


class Races:
    """Each race is what a `Sender` sends: (number, key) -> id of what it was about."""

    def __init__(self, client: Client, oracle: Path, chance: random.Random) -> None:
        self.wrong: list[str] = []
        self.won: Counter[str] = Counter()
        self._client = client
        self._oracle = oracle
        self._chance = chance
        (oracle.parent / "one.yaml").write_text(ONE)
        (oracle.parent / "two.yaml").write_text(TWO)
        self._one = client.compile(oracle.parent / "one.yaml")
        self._two = client.compile(oracle.parent / "two.yaml")

    def cancel_against_finish(self, _: int, key: str) -> str:
        """Two cancel a run that is about to succeed."""
        run = self._client.submit(self._one, {"key": key, "ms": HANDLER_MS}, idempotency_key=key)
        time.sleep(self._chance.uniform(0, CANCEL_WITHIN_S))
        answers = at_once(run.cancel, run.cancel)
        state = run.wait(20).state
        wanted = 1 if state is RunState.CANCELLED else 0
        self._judge(key, state, answers.count(True) == wanted, answers.count(False) == 2 - wanted)
        return run.id

    def two_resume(self, _: int, key: str) -> str:
        """Two let a paused run go on."""
        run = self._client.submit(self._two, {"key": key}, idempotency_key=key)
        run.pause()
        answers = at_once(run.resume, run.resume)
        state = run.wait(20).state
        starts = [event.step for event in run.events() if event.name == "step.started"]
        self._judge(key, state, answers.count(True) == 1, answers.count(False) == 1, starts == ["first", "second"])
        return run.id

    def replay_against_finish(self, _: int, key: str) -> str:
        """Two send a dead letter again while its receiver is only just giving it up."""
        office = self._client.office
        message_id = self._client.send(BOX, {"key": key}, idempotency_key=key).message_id
        self._client.office.inbox.claim([BOX], receiver=key, lease_ms=60_000, message_id=message_id)
        error = StepError("Given", "up")

        def give_up() -> None:
            office.inbox.finish(message_id, "dead", receiver=key, box=BOX, error=error)

        def replay() -> Receipt:
            return office.replay(message_id)

        answers = at_once(give_up, replay, replay)
        early = [one for one in answers if isinstance(one, Receipt)]
        answers += [] if early else at_once(replay, replay)
        answers += at_once(replay)
        sent = {one.message_id for one in answers if isinstance(one, Receipt)}
        refused = [one for one in answers if one is not None and not isinstance(one, Receipt)]
        record = self._client.message(message_id)
        self._judge(
            key, "early" if early else "late", sent == {record.replayed_as},
            isinstance(answers[-1], MessageNotHeld) and str(record.replayed_as) in str(answers[-1]),
            all(isinstance(one, MessageNotHeld) for one in refused),
        )  # fmt: skip
        return message_id

    def expiry_against_ack(self, _: int, key: str) -> str:
        """Two take and acknowledge a message at the end of its time to live."""
        inbox, options = self._client.office.inbox, DeliveryOptions(ttl_seconds=TTL_S)
        receipt = self._client.send(BOX, {"key": key}, idempotency_key=key, delivery_options=options)
        message_id = receipt.message_id
        pen = Pen(self._oracle, key)

        def take() -> bool:
            return inbox.claim([BOX], receiver=key, lease_ms=60_000, message_id=message_id) is not None

        def acknowledge() -> None:
            inbox.finish(message_id, "acknowledged", receiver=key, box=BOX)

        time.sleep(self._chance.uniform(0.8 * TTL_S, TTL_S))
        taken = at_once(take, take)
        if True in taken:
            for what in ("start", "effect", "end"):
                pen.write(what, key, step="", attempt=1, run="", message=message_id)
        acks = at_once(acknowledge, acknowledge)
        pen.close()
        state = receipt.wait(MessageState.ACKNOWLEDGED if True in taken else MessageState.EXPIRED, 20).state
        wanted = 1 if state is MessageState.ACKNOWLEDGED else 0
        refused = sum(isinstance(one, MessageNotHeld) for one in acks)
        self._judge(key, state, taken.count(True) == wanted, acks.count(None) == wanted, refused == 2 - wanted)
        return message_id

    def _judge(self, key: str, winner: str, *rules: bool) -> None:
        self.won[f"{key.split('-')[0]}_{winner}"] += 1
        if not all(rules):
            self.wrong.append(f"{key}: {winner}, {rules}")


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What they return, or raise."""
    answers: list[Any] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def ask(number: int) -> None:
        start.wait()
        try:
            answers[number] = calls[number]()
        except (MessageNotHeld, RunOver) as error:
            answers[number] = error

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
