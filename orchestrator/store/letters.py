"""`Letters`: everything that is read of messages: records, inboxes, threads, dead letters. It changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from orchestrator.errors import MessageInvalid, MessageNotFound
from orchestrator.messages import AgentMessage
from orchestrator.records import Attempt, Custody, MessageRecord, StepError
from orchestrator.states import HandoffState, MessageState
from orchestrator.store.keys import Keys
from orchestrator.store.values import unpack

Json = Any
MOST_BODY_BYTES = 64 << 20  # of a body unpacked; more than `max_message_bytes` allows to send
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it lies on the server, unread: texts, of which the signature holds as they are. `task`,
    `signature`: '' for none."""

    id: str
    sender: str
    to: str
    kind: str
    priority: str
    box: str
    task: str
    envelope: str
    body: str
    signature: str = ""
    created_at: int = 0

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Stored:
        """Of the fields of its record. Raises KeyError, ValueError: it is none."""
        return cls(
            fields["id"], fields["from"], fields["to"], fields["type"], fields["priority"], fields["box"],
            fields.get("task", ""), fields["envelope"], fields["body"], fields.get("signature", ""),
            int(fields["created_at"]),
        )  # fmt: skip

    def read(self) -> AgentMessage:
        """The message. Raises MessageInvalid: nobody can read it."""
        known = {
            "message_id": self.id, "from_agent": self.sender, "to_agent": self.to, "message_type": self.kind,
            "priority": self.priority,
        }  # fmt: skip
        try:
            body = unpack(self.body, most_bytes=MOST_BODY_BYTES)
            return AgentMessage.from_json({**json.loads(self.envelope), **known}, body=body, created_at=self.created_at)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, MessageInvalid) as error:
            raise MessageInvalid(f"message {self.id} cannot be read: {error}", field="message") from None


class Letters:
    """The messages of one server, read-only."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self.client: Any = client  # see RunReader
        self.keys = keys

    def read(self, message_id: str) -> MessageRecord:
        """Raises MessageNotFound. MessageInvalid: nobody can read it."""
        fields = self.client.hgetall(self.keys.message(message_id))
        if not fields:
            raise MessageNotFound(f"no message {message_id!r}", message_id=message_id)
        return open_record(fields)

    def held_with(self, ring: str) -> str | None:
        """The message that the worker which received this ring has claimed."""
        found: str | None = self.client.hget(self.keys.held, ring)
        return found

    def read_many(self, message_ids: Sequence[str]) -> list[MessageRecord]:
        """Those that still exist and can be read, in order. One round trip."""
        with self.client.pipeline(transaction=False) as pipe:
            for message_id in message_ids:
                pipe.hgetall(self.keys.message(message_id))
            found = pipe.execute()
        records = []
        for fields in filter(None, found):
            try:
                records.append(open_record(fields))
            except MessageInvalid as error:
                log.warning("%s", error.message)
        return records

    def peek(self, boxes: Sequence[str], limit: int = 100) -> list[MessageRecord]:
        """What may be claimed now, in the order it would be."""
        found: list[tuple[float, str]] = []
        for box in boxes:
            heads = self.client.zrange(self.keys.inbox(box), 0, limit - 1, withscores=True)
            found += [(place, message_id) for message_id, place in heads]
        return self.read_many([message_id for _, message_id in sorted(found)[:limit]])

    def size(self, box: str) -> int:
        """How many messages of a box may be claimed now."""
        return int(self.client.zcard(self.keys.inbox(box)))

    def route(self, agent: str) -> str:
        """Where the messages of an agent go that is moved over from tmux (JSON); nothing for any other."""
        return str(self.client.hget(self.keys.doors, f"route {agent}") or "")

    def parked(self) -> list[str]:
        """The boxes of capabilities that no agent had when a message came."""
        return sorted(self.client.smembers(self.keys.parked))

    def thread(self, thread_id: str, limit: int = 0) -> list[MessageRecord]:
        """The newest messages of a thread, 0: all of them, oldest first."""
        return self.read_many(self.client.zrange(self.keys.thread(thread_id), -limit, -1))

    def handoffs(self, limit: int = 1000) -> list[MessageRecord]:
        """The handoffs that are kept, the newest first."""
        return self.read_many(self.client.zrevrange(self.keys.handoffs, 0, limit - 1))

    def dead_letters(self, limit: int = 1000) -> list[MessageRecord]:
        """Messages that failed or died and were neither replayed nor purged, the newest first."""
        return self.read_many(self.client.zrevrange(self.keys.dead, 0, limit - 1))

    def watch(self, message_id: str) -> str:
        """Ask for the bell at every change. Returns the place in the bell's stream to wait behind."""
        key = self.keys.message(message_id)
        if not self.client.exists(key):
            raise MessageNotFound(f"no message {message_id!r}", message_id=message_id)
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hsetnx(key, "watched", "1")
            pipe.xrevrange(self.keys.bell(message_id), count=1)
            _, newest = pipe.execute()
        return str(newest[0][0]) if newest else "0"

    def changes(self, blocking: Any, message_id: str, *, block_ms: int) -> Iterator[MessageRecord]:
        """The record now, and again after every change, or after `block_ms` without one."""
        after = self.watch(message_id)
        while True:
            yield self.read(message_id)
            key = self.keys.bell(message_id)
            reply = blocking.xread({key: after}, block=block_ms)
            if reply:
                entries = dict(reply)[key] if isinstance(reply, list) else reply[key][0]
                after = entries[-1][0]

    def wait_for_knock(self, blocking: Any, boxes: Sequence[str], timeout_s: float) -> bool:
        """Sleep until a message comes to one of these boxes, at most `timeout_s`. Whether somebody knocked."""
        return blocking.blpop([self.keys.knock(box) for box in boxes], timeout=timeout_s) is not None


def open_record(fields: dict[str, str]) -> MessageRecord:
    """The record of these fields. Raises MessageInvalid: nobody can read it."""
    try:
        return _record(fields)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        text = f"message {fields.get('id')} cannot be read: {type(error).__name__}: {error}"
        raise MessageInvalid(text, field="message") from None


def _record(fields: dict[str, str]) -> MessageRecord:
    message = Stored.of(fields).read()
    tries = [json.loads(fields[f"a:{n}"]) for n in range(1, int(fields["attempt"]) + 1)]
    return MessageRecord(
        message=message,
        state=MessageState(fields["state"]),
        box=fields["box"],
        attempts=tuple(_attempt(data) for data in tries),
        delivered_at=_time(fields, "delivered_at"),
        finished_at=_time(fields, "finished_at"),
        due_at=_time(fields, "due_at"),
        expires_at=_time(fields, "expires_at"),
        worker=fields.get("worker"),
        error=StepError.from_json(json.loads(fields["error"])) if "error" in fields else None,
        reason=fields.get("reason"),
        reply=fields.get("reply") or fields.get("late_reply"),
        late="late" in fields,
        replayed_as=fields.get("replayed_as"),
        duplicates=int(fields.get("duplicates", 0)),
        handoff=HandoffState(fields["handoff"]) if "handoff" in fields else None,
        task=fields.get("task"),
        owner=fields.get("owner"),
        previous_owner=fields.get("previous_owner") or None,
        custody=tuple(_custody(data) for data in json.loads(fields.get("custody", "[]"))),
        result=unpack(fields["result"]) if "result" in fields else None,
    )


def _attempt(data: dict[str, Json]) -> Attempt:
    error = StepError.from_json(data.get("error"))
    return Attempt(int(data["started_at"]), data["worker"], data.get("ended_at"), error, data.get("superseded"))


def _custody(data: dict[str, Json]) -> Custody:
    return Custody(int(data["at"]), data["state"], data["owner"], data.get("reason"))


def _time(fields: dict[str, str], name: str) -> int | None:
    return int(fields[name]) if name in fields else None
