"""`Inbox`: every transition of a message, one typed method per script, one round trip each. Handoffs are messages too.

Nothing here checks what people write or calls a handler; `letters.py` reads, this file changes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import redis

from orchestrator.errors import (
    BadSignature,
    MessageNotFound,
    MessageNotHeld,
    NotYourMessage,
    OrchestratorError,
    QueueFull,
    ReplyNotAllowed,
    UnknownAgent,
)
from orchestrator.records import (
    SCHEMA,
    Delivery,
    Doorbell,
    Draft,
    MessageRecord,
    Posted,
    Sending,
    StepError,
    Taker,
)
from orchestrator.settings import Settings
from orchestrator.states import MessageState
from orchestrator.store.deliveries import Deliveries
from orchestrator.store.directory import boxes_of
from orchestrator.store.keys import Keys
from orchestrator.store.letters import Letters, Stored, open_record
from orchestrator.store.load import PRIORITIES, RANK
from orchestrator.store.posting import Doorbells, Posting
from orchestrator.store.routing import queue_of
from orchestrator.store.scripts import Scripts
from orchestrator.store.signatures import Signatures

log = logging.getLogger(__name__)
Json = Any

CAPABILITY = "capability:"  # what the name of a box starts with whose messages wait for an agent that has it
PASSED_OVER = 20  # claims that may pass over less urgent messages before the oldest one goes first ...
PASSED_OVER_MS = 5000  # ... and how long they must have done so: docs/messages.md, "order"
_RINGS_AT_ONCE = 100


class Rerouted(OrchestratorError):
    """The messages of the agent go into its tmux window; `route` says which."""


class Inbox(Letters):
    """The messages of one server.

    Args:
        doorbells: makes the Celery message that calls a worker.
    """

    def __init__(self, client: redis.Redis, keys: Keys, settings: Settings, doorbells: Doorbells) -> None:
        super().__init__(client, keys)
        self._scripts = Scripts(client)
        self._settings = settings
        self._doorbells = doorbells
        self._commons = [
            keys.message_timers, keys.wake, keys.rings, keys.queues, keys.journal, keys.doors, keys.presence,
            keys.held, keys.dead,
        ]  # fmt: skip
        self._options = json.dumps({
            "retain": settings.message_retention_s * 1000,
            "journal": settings.journal_events,
            "lease": round(settings.lease_s * 1000),
        })  # fmt: skip
        self.signatures = Signatures(settings)
        self._posting = Posting(keys, settings, doorbells, self.signatures)
        self._deliveries = Deliveries(client, keys, self.signatures, self._commons, self._options)

    def read(self, message_id: str) -> MessageRecord:
        """Raises MessageNotFound. NotYourMessage: it is neither from nor for the agent whose key this is."""
        return self._for_us(super().read(message_id))

    def read_many(self, message_ids: Sequence[str]) -> list[MessageRecord]:
        """As `Letters.read_many`, without those of other agents."""
        return [record for record in super().read_many(message_ids) if self.signatures.may_see(record)]

    def read_checked(self, message_id: str) -> MessageRecord:
        """As `read`, of a message that is its sender's for certain, as far as the key allows. Raises BadSignature."""
        fields = self.client.hgetall(self.keys.message(message_id))
        if not fields:
            raise MessageNotFound(f"no message {message_id!r}", message_id=message_id)
        record = self._for_us(open_record(fields))
        try:
            self.signatures.check(Stored.of(fields))
        except BadSignature as error:
            raise BadSignature(f"message {message_id} {error.message}", message_id=message_id) from None
        return record

    def _for_us(self, record: MessageRecord) -> MessageRecord:
        if not self.signatures.may_see(record):
            message = f"message {record.message.message_id} is for {record.message.to_agent}, whose key this is not"
            raise NotYourMessage(message, message_id=record.message.message_id)
        return record

    def send(self, drafts: Sequence[Draft]) -> list[Posted]:
        """Store messages, all of them or none.

        Raises:
            UnknownAgent: a recipient is not registered. MessageNotFound: a reply to a message that does not exist.
            SenderMismatch: the key is of another agent. ReplyNotAllowed: the message was for another agent.
            QueueFull: the server has used up most of its memory.
        Script: send_messages.lua, O(messages). Telling it again is safe.
        """
        self._note_parked(drafts)
        keys, args = self._posting.arguments(drafts)
        reply = self._scripts.call("send_messages", [*self._commons, *keys], [self._options, len(drafts), *args])
        _refuse(reply)
        return self.posted(drafts, reply[1:])

    def sending(self, drafts: Sequence[Draft]) -> Sending:
        """Drafts for the script that finishes a step."""
        self._note_parked(drafts)
        keys, args = self._posting.arguments(drafts)
        return Sending([*self._commons, *keys], [self._options, len(drafts), *args])

    @staticmethod
    def posted(drafts: Sequence[Draft], replies: Sequence[Any]) -> list[Posted]:
        """What a script answered about drafts."""
        return [
            Posted(message_id, state, bool(online), send, bool(known), draft.box, draft.message.priority, route)
            for draft, (message_id, state, online, send, known, route) in zip(drafts, replies, strict=True)
        ]

    def _note_parked(self, drafts: Sequence[Draft]) -> None:
        boxes = [draft.box for draft in drafts if draft.box.startswith(CAPABILITY)]
        if boxes:
            self.client.sadd(self.keys.parked, *boxes)

    def claim(
        self,
        boxes: Sequence[str],
        *,
        receiver: str,
        lease_ms: int,
        ring: str = "",
        message_id: str = "",
        handoff_state: str = "in_progress",
        again: bool = False,
    ) -> Delivery | None:
        """Take the most urgent message of these boxes, or a certain one.

        Args:
            lease_ms: until another may take it; 0: it is held until it is closed.
            ring: the ring that a worker has received, if this is one.
            again: no answer came to the same call before; if that has claimed a message for the ring, this is it.
        Returns:
            None if there is nothing to claim. What is not in order goes into quarantine on the way.
        Raises:
            NotYourMessage: the key is of another agent.
        Script: claim_message.lua, O(log n); where the message is not in order, refuse_message.lua, and once more.
        """
        for box in boxes:
            self.signatures.allow(box)
        keys = [*self._commons, self.keys.message_prefix, *map(self.keys.inbox, boxes)]
        args = [self._options, receiver, lease_ms, ring, message_id, handoff_state, PASSED_OVER, PASSED_OVER_MS]
        args += [SCHEMA, int(again)]
        while (reply := self._scripts.call("claim_message", keys, args)) is not None:
            if delivery := self._deliveries.open(reply, receiver, boxes):
                return delivery
        return None

    def take(self, taker: Taker, *, again: bool = False) -> Delivery | None:
        """Take the most urgent message that waits for one of the taker's agents, past the broker's consumer.

        Returns:
            None: nothing waits, or what is most urgent is a step. What is not in order goes into quarantine.
        Script: take_message.lua, O(log n).
        """
        keys, prefix = self.keys, self.keys.prefix
        args = [self._options, taker.worker, taker.lease_ms, queue_of("", prefix), keys.inbox(""), "in_progress"]
        args += [PASSED_OVER, PASSED_OVER_MS, SCHEMA, int(again), taker.pid, keys.holds(taker.worker)]
        boxes = [box for agent in taker.agents for box in boxes_of(agent)]
        found = [*self._commons, keys.message_prefix], [*args, *taker.agents]
        while (reply := self._scripts.call("take_message", *found)) is not None:
            if delivery := self._deliveries.open(reply, taker.worker, boxes):
                return delivery
        return None

    def finish(
        self,
        message_id: str,
        outcome: str,
        *,
        receiver: str,
        box: str,
        attempt: int = 0,
        priority: str = "medium",
        delay_ms: int = 0,
        error: StepError | None = None,
        result: str = "",
        drafts: Sequence[Draft] = (),
    ) -> list[Posted]:
        """End an attempt, and store in the same step what its handler sends.

        Args:
            outcome: acknowledged, failed, dead, pending (it is tried again after `delay_ms`) or declined (a handoff).
            result: of a handoff, as JSON text.
        Returns:
            What became of the drafts, and, first, of the message itself where it needs a ring.
        Raises:
            MessageNotHeld: the receiver does not hold it. MessageNotFound: no such message, or a reply to none.
            NotYourMessage: the key is of another agent.
            UnknownAgent: a draft goes to an agent that is not registered; nothing was changed.
        Script: finish_message.lua, O(messages sent).
        """
        self.signatures.allow(box)
        keys, args = self._posting.arguments(drafts)
        doorbell = self._doorbells(box, priority, message_id)
        own = [*self._commons, *self._place(message_id, box, doorbell)]
        failure = json.dumps(error.to_json()) if error else ""
        head = [self._options, message_id, attempt, receiver, outcome, delay_ms, failure, result, doorbell.ring]
        reply = self._scripts.call("finish_message", [*own, *keys], [*head, len(drafts), *args])
        if reply[0] == -3:
            raise MessageNotFound(f"no message {message_id!r}", message_id=message_id)
        if reply[0] == 0:
            raise MessageNotHeld(_not_held(message_id, *reply[1:]), message_id=message_id, status=reply[1])
        _refuse(reply)
        again = [Posted(message_id, "pending", True, reply[1], False, box, priority)] if reply[1] else []
        return again + self.posted(drafts, reply[2:])

    def wake(
        self, kind: str, message_id: str, box: str, attempt: int, *, error: StepError, dead: bool = False
    ) -> Posted | None:
        """Do what is due to a message. None: nothing, or no ring has to be sent. Script: wake_message.lua, O(log n).

        Args:
            error: what the message dies with when it has lost too many workers.
            dead: the process that handled it has ended for certain, so that nobody has to wait for its lease.
        """
        priority = str(self.client.hget(self.keys.message(message_id), "priority") or "medium")
        doorbell = self._doorbells(box, priority, message_id)
        args = [self._options, message_id, kind, attempt, box, self._settings.max_losses, json.dumps(error.to_json())]
        keys = [*self._commons, *self._place(message_id, box, doorbell)]
        reply = self._scripts.call("wake_message", keys, [*args, doorbell.ring, int(dead)])
        return Posted(message_id, "pending", True, reply[1], False, box, priority) if reply[0] and reply[1] else None

    def extend(self, held: Iterable[str], *, receiver: str, lease_ms: int) -> int:
        """A heartbeat for messages, named by their ids or by the rings they were claimed with.

        Returns:
            How many of them the receiver holds. Script: extend_message.lua, O(messages).
        """
        keys = [*self._commons, self.keys.message_prefix]
        return int(self._scripts.call("extend_message", keys, [self._options, receiver, lease_ms, *held]))

    def ring_again(self, box: str, priority: str, message_id: str, lost: str = "") -> Posted | None:
        """Call a worker again for a box. None: no ring has to be sent. Script: ring_again.lua, O(log n)."""
        reply = self._scripts.call("ring_again", *self._ringing(box, priority, message_id, lost))
        return _rung(reply, box, message_id, priority)

    def ring_all(self, box: str) -> list[Posted]:
        """Call workers for everything that waits in a box. Returns the rings that have to be sent.

        A round trip for a hundred messages, so that a heartbeat is not late.
        """
        found, waiting = [], self.client.zrange(self.keys.inbox(box), 0, -1, withscores=True)
        for start in range(0, len(waiting), _RINGS_AT_ONCE):
            heads = waiting[start : start + _RINGS_AT_ONCE]
            some = [(str(message_id), PRIORITIES[int(place // RANK)]) for message_id, place in heads]
            calls = [self._ringing(box, priority, message_id) for message_id, priority in some]
            replies = self._scripts.many("ring_again", calls)
            found += [_rung(reply, box, *one) for reply, one in zip(replies, some, strict=True)]
        return [posted for posted in found if posted is not None]

    def _ringing(self, box: str, priority: str, message_id: str, lost: str = "") -> tuple[list[str], list[Any]]:
        """The keys and arguments of ring_again.lua."""
        doorbell = self._doorbells(box, priority, message_id)
        keys = [*self._commons, self.keys.inbox(box), doorbell.queue, doorbell.wake]
        return keys, [self._options, lost, box, priority, message_id, doorbell.ring]

    def move(self, message_id: str, parked: str, box: str, agent: str, priority: str) -> Posted | None:
        """Give a parked message to an agent. None: no ring has to be sent. Script: move_message.lua, O(log n)."""
        fields = self.client.hgetall(self.keys.message(message_id)) if self.signatures.key else None
        signature = self.signatures.renewed(Stored.of(fields), to=agent, box=box) if fields else ""
        doorbell = self._doorbells(box, priority, message_id)
        keys = [*self._commons, *self._place(message_id, box, doorbell), self.keys.inbox(parked)]
        args = [self._options, message_id, box, agent, doorbell.ring, signature]
        reply = self._scripts.call("move_message", keys, args)
        return Posted(message_id, "pending", True, reply[1], False, box, priority) if reply[0] and reply[1] else None

    def sign_waiting(self) -> int:
        """Sign what waits without a signature, because it was stored before there was a key. Returns how many."""
        signed = 0
        for key in self.client.scan_iter(self.keys.message("*"), count=1000):
            try:
                fields = self.client.hgetall(key)
                if fields.get("state") != MessageState.PENDING or "signature" in fields:
                    continue
                signature = self.signatures.adopted(Stored.of(fields), int(fields.get("due_at", 0)))
            except (KeyError, ValueError, redis.ResponseError):
                log.warning("%s is no record of a message, and is left as it is", key)
                continue
            signed += self.client.hset(key, "signature", signature)
        return signed

    # --- dead letters ----------------------------------------------------------------------------------------

    def mark_replayed(self, message_id: str, new_id: str) -> None:
        """Note that a dead letter was sent again, and let it go after the retention."""
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hset(self.keys.message(message_id), "replayed_as", new_id)
            pipe.zrem(self.keys.dead, message_id)
            pipe.pexpire(self.keys.message(message_id), self._settings.message_retention_s * 1000)
            pipe.execute()

    def purge(self, message_ids: Sequence[str]) -> int:
        """Delete dead letters. Returns how many there were."""
        with self.client.pipeline(transaction=True) as pipe:
            for message_id in message_ids:
                pipe.zrem(self.keys.dead, message_id)
                pipe.unlink(self.keys.message(message_id))
            return sum(pipe.execute()[::2])

    # --- inside ----------------------------------------------------------------------------------------------

    def _place(self, message_id: str, box: str, doorbell: Doorbell) -> list[str]:
        keys = self.keys
        return [
            keys.message(message_id), keys.inbox(box), keys.knock(box), doorbell.queue, doorbell.wake,
            keys.bell(message_id),
        ]  # fmt: skip


def _rung(reply: Sequence[Any], box: str, message_id: str, priority: str) -> Posted | None:
    return Posted(message_id, "pending", True, reply[1], False, box, priority) if reply[0] and reply[1] else None


def _refuse(reply: Sequence[Any]) -> None:
    if reply[0] == -1:
        raise UnknownAgent(f"no agent {reply[1]!r}", agent=reply[1])
    if reply[0] == -5:
        raise QueueFull(f"The server has no room for new messages: {reply[1]}")
    if reply[0] == -4:
        raise Rerouted("The agent lives in a tmux window", agent=reply[1], route=reply[2])
    if reply[0] == -6:
        raise ReplyNotAllowed(f"message {reply[1]} was for {reply[2]}; only {reply[2]} can reply", field="from")
    if reply[0] == -2:
        raise MessageNotFound(f"no message {reply[1]!r} to reply to", message_id=reply[1])


def _not_held(message_id: str, state: str, worker: str) -> str:
    if state == MessageState.DELIVERED:
        return f"message {message_id} is held by {worker}"
    return f"message {message_id} is {state}, nobody holds it"
