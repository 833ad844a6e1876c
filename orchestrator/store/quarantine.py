"""Messages on the broker that nobody can read or run: their bytes, and why. Nothing takes them away but people."""

from __future__ import annotations

import base64
import json
import logging
import zlib
from dataclasses import dataclass
from typing import Any

from orchestrator.ids import new_id
from orchestrator.store.scripts import Scripts

#: hash: id -> ms when it came, a space, JSON {queue, reason, bytes, raw: base64 of zlib}; beside the broker's keys
KEY = "quarantine"
log = logging.getLogger(__name__)
_MAX_REASON = 200
_MOST_BYTES = 64 << 20
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"  # kombu's


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One message. `at`: ms since the epoch; `size`: bytes, as it lay on the queue."""

    id: str
    queue: str
    reason: str
    at: int
    size: int
    packed: str

    @property
    def raw(self) -> bytes:
        """The message as it lay on the queue, 64 MiB of it at most. Empty: somebody else wrote the entry."""
        try:
            return zlib.decompressobj().decompress(base64.b64decode(self.packed), _MOST_BYTES)
        except (ValueError, zlib.error):
            return b""


class Quarantine:
    """The quarantine of one broker that is a Redis server, or, for another broker, of the store.

    Args:
        client: decodes its answers or not.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._scripts = Scripts(client)

    def put(self, raw: bytes, queue: str, reason: str, tag: str = "") -> None:
        """Keep a message, and log it.

        Args:
            reason: goes on from "it": `cannot be read: ...`; its first 200 characters are kept.
            tag: its delivery, which `unacked` forgets in the same step.
        """
        self._scripts.call("quarantine", [KEY, UNACKED, UNACKED_INDEX], [new_id(), entry_of(raw, queue, reason), tag])

    def all(self) -> list[Quarantined]:
        """Everything that is kept, oldest first."""
        found = {_text(name): _text(entry) for name, entry in self._client.hgetall(KEY).items()}
        return [_quarantined(name, found[name]) for name in sorted(found)]

    def count(self) -> int:
        """How many messages are kept."""
        return int(self._client.hlen(KEY))

    def read(self, name: str) -> Quarantined | None:
        """One message by its id."""
        entry = self._client.hget(KEY, name)
        return None if entry is None else _quarantined(name, _text(entry))

    def remove(self, *names: str) -> int:
        """Delete messages. Returns how many there were."""
        return int(self._client.hdel(KEY, *names)) if names else 0


def entry_of(raw: bytes, queue: str, reason: str) -> str:
    """What the quarantine keeps of a message, as JSON, for the script that puts it there; and log it."""
    reason = reason[:_MAX_REASON]
    log.error("a message of queue %s goes into quarantine (orchestrator dead): it %s", queue, reason)
    packed = base64.b64encode(zlib.compress(raw, 1)).decode()
    return json.dumps({"queue": queue, "reason": reason, "bytes": len(raw), "raw": packed})


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _quarantined(name: str, entry: str) -> Quarantined:
    try:
        at, _, text = entry.partition(" ")
        data = json.loads(text)
        queue, reason, packed = str(data["queue"]), str(data["reason"]), str(data["raw"])
        return Quarantined(name, queue, reason, int(at), int(data["bytes"]), packed)
    except (ValueError, TypeError, KeyError, RecursionError):
        return Quarantined(name, "", "is no entry of a quarantine: somebody else wrote it", 0, len(entry), "")
