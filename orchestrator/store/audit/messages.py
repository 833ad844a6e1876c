"""What must stand where for a message or a handoff, by its record alone; and the reverse, for each entry of one.

The rules are those of `_message.lua` and the scripts behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.store.audit.looking import Finding, Need, Part, Place, wrong
from orchestrator.store.inbox import CAPABILITY
from orchestrator.store.keys import Keys
from orchestrator.store.load import TASKS

MESSAGE_LIVE = frozenset({"pending", "delivered"})
_FIELDS = (
    "state", "box", "attempt", "due_at", "expires_at", "lease_until", "ring", "handoff", "replayed_as", "task",
)  # fmt: skip


class Messages:
    """Check: a message. `now_ms`: the server's time."""

    def __init__(self, keys: Keys, now_ms: int) -> None:
        self._keys = keys
        self._now_ms = now_ms

    def ask(self, pipe: Any, item: str) -> None:
        pipe.hmget(self._keys.message(item), *_FIELDS)
        pipe.expiretime(self._keys.message(item))

    @staticmethod
    def fields(replies: list[Any]) -> dict[str, str | None]:
        """What was read of one message."""
        return dict(zip(_FIELDS, replies[0], strict=True))

    def part_of(self, rec: dict[str, str | None]) -> Part:
        """Where a message is counted."""
        if rec["state"] == "delivered":
            return "leased"
        if rec["state"] != "pending":
            return "terminal"
        return "waiting" if int(rec["due_at"] or 0) > self._now_ms else "queued"

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        rec, expires_s = self.fields(replies), int(replies[1])
        state, part = rec["state"], self.part_of(rec)
        if state is None:
            return
        if state in MESSAGE_LIVE:
            if expires_s >= 0:
                yield wrong("message", item, f"is {state}, and its record expires")
            yield from self._open(item, rec, part)
            return
        in_dead = Place("zset", self._keys.dead, item)
        if state in ("failed", "dead") and rec["handoff"] != "declined" and not rec["replayed_as"]:
            yield Need(Finding("message", item, f"is {state}, and is not among the dead letters"), (in_dead,))
            if expires_s >= 0:
                yield wrong("message", item, "is a dead letter, and its record expires")
        elif expires_s < 0:
            yield wrong("message", item, f"is {state} and never expires")

    def _open(self, item: str, rec: dict[str, str | None], part: Part) -> Iterator[Need]:
        box = str(rec["box"])
        ttl = self._timer("ttl", item, box)
        if rec["expires_at"]:
            yield Need(Finding("message", item, "has a time to live, and no timer for its end"), (ttl,))
        if rec["state"] == "delivered":
            lease = self._timer("lease", item, box, str(rec["attempt"]))
            if rec["lease_until"]:
                yield Need(Finding("message", item, "is being handled, and its lease never ends", part), (lease,))
            if rec["ring"]:
                held = Place("field", self._keys.held, rec["ring"])
                yield Need(Finding("message", item, "is being handled, and no heartbeat reaches it"), (held,))
            return
        places = [Place("zset", self._keys.inbox(box), item), self._timer("due", item, box)]
        if rec["expires_at"] and int(rec["expires_at"]) <= self._now_ms:
            places.append(ttl)  # who met it in the inbox has taken it out, and the keeper lets it expire
        problem = "is pending, in no inbox, and nothing will bring it there"
        yield Need(Finding("message", item, problem, part), tuple(places))
        if box.startswith(CAPABILITY):
            parked = Place("set", self._keys.parked, box)
            yield Need(Finding("message", item, f"waits for {box}, which nobody looks after", part), (parked,))

    def _timer(self, kind: str, item: str, box: str, attempt: str = "0") -> Place:
        return Place("zset", self._keys.message_timers, f"{kind} {item} {box} {attempt}")


class MessageTimers:
    """Check: a timer of a message."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def ask(self, pipe: Any, item: str) -> None:
        pipe.zscore(self._keys.message_timers, item)
        pipe.hmget(self._keys.message(item.split(" ")[1]), "state", "box", "attempt")

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        there, (state, held_in, tried) = replies
        kind, _, box, attempt = item.split(" ")
        if there is None:
            return
        if state is None:
            yield wrong("timer", item, "the message's record is gone")
        elif kind == "lease":
            if state != "delivered" or (held_in, tried) != (box, attempt):
                yield wrong("timer", item, "is left over: the attempt does not run")
        elif state not in MESSAGE_LIVE or held_in != box:
            yield wrong("timer", item, f"is left over: the message is {state}")


class InboxEntries:
    """Check: an entry of an inbox. Items: the box and the message."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def ask(self, pipe: Any, item: str) -> None:
        box, _, message_id = item.rpartition(" ")
        pipe.zscore(self._keys.inbox(box), message_id)
        pipe.hmget(self._keys.message(message_id), "state", "box")

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        there, (state, box) = replies
        if there is None:
            return
        if state is None:
            yield wrong("inbox entry", item, "the message's record is gone")
        elif state != "pending":
            yield wrong("inbox entry", item, f"the message is {state}")
        elif box != item.rpartition(" ")[0]:
            yield wrong("inbox entry", item, f"the message is in the inbox {box}")


class Boxes:
    """Check: an inbox whose messages workers are rung for: somebody is on his way.

    A ring calls for a box, and is answered with whichever message is the most urgent: so it may outlive the message
    that it was made for, and here it counts whichever of the agent's two boxes it is for.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def ask(self, pipe: Any, item: str) -> None:
        agent = item.removesuffix(TASKS)
        pipe.zcard(self._keys.inbox(item))
        pipe.hget(self._keys.doors, item)
        pipe.zlexcount(self._keys.rings, f"[{agent} ", f"[{agent} \xff")

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        waiting, door, rings = replies
        if waiting and door == "worker" and not rings:
            yield wrong("inbox", item, f"{waiting} wait, and no worker is called for them")


class DeadLetters:
    """Check: an entry of the dead letters."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def ask(self, pipe: Any, item: str) -> None:
        pipe.zscore(self._keys.dead, item)
        pipe.hmget(self._keys.message(item), "state", "replayed_as")

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        there, (state, replayed) = replies
        if there is not None and (state not in ("failed", "dead") or replayed):
            yield wrong("dead letter", item, f"the message is {'replayed' if replayed else state or 'gone'}")


class Held:
    """Check: a ring, and the message that it led to."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def ask(self, pipe: Any, item: str) -> None:
        ring, _, message_id = item.rpartition(" ")
        pipe.hget(self._keys.held, ring)
        pipe.hmget(self._keys.message(message_id), "state", "ring")

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        ring, _, message_id = item.rpartition(" ")
        if replies[0] == message_id and replies[1] != ["delivered", ring]:
            yield wrong("ring", ring, f"stands for message {message_id}, which it does not hold")
