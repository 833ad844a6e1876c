"""The audit of messages and handoffs: clean in every state, and each kind of damage is named."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
import redis

from orchestrator import DeliveryOptions
from orchestrator.agents.mail import wake_message
from orchestrator.agents.post import PostOffice
from orchestrator.errors import MessageNotFound, MessageNotHeld
from orchestrator.messages import MessagePriority
from orchestrator.records import Delivery, StepError
from orchestrator.store.audit import auditor
from orchestrator.store.directory import boxes_of
from orchestrator.store.timers import Timers
from tests.conftest import KEYS
from tests.store.auditing import audit, told

ERROR = StepError("ValueError", "no")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves while these tests look."""
    monkeypatch.setattr(auditor, "_SECOND_LOOK_S", 0)


class Mail:
    """Everybody who touches messages, in an order that chance makes."""

    def __init__(self, client: redis.Redis, office: PostOffice, seed: int) -> None:
        self.client, self.office, self.random = client, office, random.Random(seed)
        self.taken: list[Delivery] = []

    def anything(self) -> None:
        self.random.choice([self.send] * 3 + [self.take] * 3 + [self.end] * 3 + [self.keep, self.read])()

    def send(self) -> None:
        to, r = self.random.choice(["ada", "writer", "capability:writing", "capability:painting"]), self.random
        if r.random() < 0.3:
            self.office.handoff("writer", "draft", {"topic": "x"}, sender="bob", offer_s=r.choice([0.01, 60]))
            return
        options = DeliveryOptions(
            ttl_seconds=r.choice([None, None, 0.01, 60]), require_ack=r.random() < 0.8, persistent=r.random() < 0.8,
        )  # fmt: skip
        later = {"delay_s": r.choice([0.01, 60])} if r.random() < 0.3 else {}
        priority = r.choice(list(MessagePriority))
        self.office.send(to, "hi", sender="bob", priority=priority, delivery_options=options, **later)

    def take(self) -> None:
        agent, rings = self.random.choice(["ada", "writer"]), self.client.zrange(KEYS.rings, 0, -1)
        ring = self.random.choice(rings) if rings and agent == "writer" else ""
        boxes = [ring.split(" ")[3]] if ring else boxes_of(agent)
        lease_ms = self.random.choice([0, 1, 60_000])
        found = self.office.inbox.claim(boxes, receiver="r", lease_ms=lease_ms, ring=ring)
        self.taken += [found] if found else []

    def end(self) -> None:
        if not self.taken:
            return
        delivery = self.random.choice(self.taken)  # which may be over, or held by nobody any more
        outcome = self.random.choice(["acknowledged", "acknowledged", "failed", "dead", "pending"])
        with suppress(MessageNotHeld, MessageNotFound):
            self.office.inbox.finish(
                delivery.message.message_id, outcome, receiver="r", box=delivery.box, attempt=delivery.attempt,
                delay_ms=self.random.choice([0, 1, 60_000]), error=None if outcome == "acknowledged" else ERROR,
                priority=delivery.message.priority,
            )  # fmt: skip

    def keep(self) -> None:
        for timer in Timers(self.client, KEYS).take_due_messages(limit=100, hold_ms=1000).timers:
            wake_message(self.office, timer)
        self.office.route(self.office.inbox.parked())

    def read(self) -> None:
        """What people do with dead letters."""
        for record in self.office.inbox.dead_letters(limit=1):
            if self.random.random() < 0.5:
                self.office.inbox.mark_replayed(record.message.message_id, "again")
            else:
                self.office.inbox.purge([record.message.message_id])


@pytest.mark.parametrize("seed", range(8))
def test_the_audit_is_clean_after_every_move_of_messages(client: redis.Redis, office: PostOffice, seed: int) -> None:
    mail = Mail(client, office, seed)
    for _ in range(60):
        mail.anything()
        assert told(client) == []
    assert audit(client).messages.accepted > 0


def test_a_pending_message_that_nothing_brings_to_anybody(
    client: redis.Redis, office: PostOffice, damaged: Any
) -> None:
    now = office.send("ada", "now", sender="bob").message_id
    later = office.send("ada", "later", sender="bob", delay_s=60).message_id
    problem = "is pending, in no inbox, and nothing will bring it there"
    assert damaged("ZREM", KEYS.inbox("ada"), now) == [f"message {now}: {problem}"]
    report = audit(client)
    assert (report.messages.queued, report.messages.waiting, report.messages.unaccounted) == (0, 1, 1)
    client.zadd(KEYS.inbox("ada"), {now: 1})
    assert damaged("ZREM", KEYS.message_timers, f"due {later} ada 0") == [f"message {later}: {problem}"]


def test_a_message_without_its_lease_or_its_end(client: redis.Redis, office: PostOffice, damaged: Any) -> None:
    sent = office.send("writer", "hi", sender="bob", delivery_options=DeliveryOptions(ttl_seconds=60)).message_id
    ring = client.zrange(KEYS.rings, 0, 0)[0]
    assert damaged("ZREM", KEYS.rings, ring) == ["inbox writer: 1 wait, and no worker is called for them"]
    client.zadd(KEYS.rings, {ring: 0})
    office.inbox.claim(boxes_of("writer"), receiver="w1", lease_ms=60_000, ring=ring)
    assert f"message {sent}: is being handled, and its lease never ends" in damaged(
        "ZREM", KEYS.message_timers, f"lease {sent} writer 1"
    )
    client.zadd(KEYS.message_timers, {f"lease {sent} writer 1": 1e13})
    assert damaged("HDEL", KEYS.held, ring) == [f"message {sent}: is being handled, and no heartbeat reaches it"]
    client.hset(KEYS.held, ring, sent)
    assert damaged("ZREM", KEYS.message_timers, f"ttl {sent} writer 0") == [
        f"message {sent}: has a time to live, and no timer for its end"
    ]


def test_a_record_that_is_deleted_leaves_traces(client: redis.Redis, office: PostOffice, damaged: Any) -> None:
    sent = office.send("ada", "hi", sender="bob", delay_s=60).message_id
    assert damaged("DEL", KEYS.message(sent)) == [
        f"message {sent}: LOST: was accepted (so says the journal), and nothing of it is left",
        f"timer due {sent} ada 0: the message's record is gone",
    ]
    assert audit(client).messages.to_json() == {
        "accepted": 1, "queued": 0, "leased": 0, "waiting": 0, "terminal": 0, "unaccounted": 1,
    }  # fmt: skip


def test_dead_letters_and_entries_that_stand_for_nothing(client: redis.Redis, office: PostOffice, damaged: Any) -> None:
    office.send("ada", "hi", sender="bob")
    delivery = office.inbox.claim(["ada"], receiver="r", lease_ms=60_000)
    assert delivery is not None
    sent = delivery.message.message_id
    assert f"inbox entry ada {sent}: the message is delivered" in damaged("ZADD", KEYS.inbox("ada"), 1, sent)
    client.zrem(KEYS.inbox("ada"), sent)
    assert damaged("HINCRBY", KEYS.queues, "running ada", 2) == ["counter running ada: is 3, and 1 were counted"]
    client.hincrby(KEYS.queues, "running ada", -2)
    office.inbox.finish(sent, "dead", receiver="r", box="ada", error=ERROR)
    assert damaged("ZREM", KEYS.dead, sent) == [f"message {sent}: is dead, and is not among the dead letters"]
    client.zadd(KEYS.dead, {sent: 1})
    assert damaged("ZADD", KEYS.dead, 1, "nobody") == ["dead letter nobody: the message is gone"]
    client.zrem(KEYS.dead, "nobody")
    assert damaged("HSET", KEYS.held, "writer low 1 writer x", sent) == [
        f"ring writer low 1 writer x: stands for message {sent}, which it does not hold"
    ]
    client.hdel(KEYS.held, "writer low 1 writer x")
    assert damaged("ZADD", KEYS.message_timers, 1e13, f"due {sent} ada 0") == [
        f"timer due {sent} ada 0: is left over: the message is dead"
    ]


def test_a_parked_message_is_looked_after(client: redis.Redis, office: PostOffice, damaged: Any) -> None:
    sent = office.send("capability:painting", "hi", sender="bob").message_id
    assert damaged("SREM", KEYS.parked, "capability:painting") == [
        f"message {sent}: waits for capability:painting, which nobody looks after"
    ]
