"""`Journal`: the stream of what happened to messages, handoffs, agents, runs and steps, and how far its readers are.

The scripts of the transitions write it, and `Directory.announce`. Here it is read; only positions are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

from orchestrator.records import JournalEntry
from orchestrator.store.keys import Keys

BEGINNING = "0"  # the position in front of the oldest entry
_LONG_NAMES = {"m": "message", "h": "handoff", "r": "run", "s": "step", "a": "attempt"}
_QUEUED = "q"  # of an attempt that starts: for how long the step waited in which queue
_PAGE = 1000


class Journal:
    """The journal of one server."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self.client: Any = client  # see RunReader
        self.keys = keys

    def read(self, after: str = BEGINNING, count: int = _PAGE) -> list[JournalEntry]:
        """At most `count` entries behind a position, oldest first. One round trip."""
        return [_entry(*entry) for entry in self.client.xrange(self.keys.journal, min=f"({after}", count=count)]

    def tail(self, count: int) -> list[JournalEntry]:
        """The newest `count` entries, oldest first. One round trip."""
        return [_entry(*entry) for entry in reversed(self.client.xrevrange(self.keys.journal, count=count))]

    def newest(self) -> str:
        """The position behind the newest entry: what follows is new."""
        newest = self.client.xrevrange(self.keys.journal, count=1)
        return str(newest[0][0]) if newest else BEGINNING

    def since(self, after: str, most: int) -> tuple[int, str, list[JournalEntry]]:
        """How many entries there have ever been, the position behind the newest, and the entries behind a position.

        Of these at most `most`, the oldest first. One round trip.
        """
        with self.client.pipeline(transaction=False) as pipe:
            pipe.xinfo_stream(self.keys.journal)
            pipe.xrange(self.keys.journal, min=f"({after}", count=most)
            info, entries = pipe.execute(raise_on_error=False)
        if isinstance(entries, Exception):
            raise entries
        if isinstance(info, redis.ResponseError):  # no stream: nothing has ever happened
            return 0, BEGINNING, []
        return int(info["entries-added"]), str(info["last-generated-id"]), [_entry(*entry) for entry in entries]

    def wait(self, blocking: Any, after: str, block_ms: int, count: int = _PAGE) -> list[JournalEntry]:
        """What there is behind a position, at most `count`; waits at most `block_ms` for the first. Empty: nothing.

        Args:
            blocking: a client whose socket time-out is longer than `block_ms`.
        """
        key = self.keys.journal
        reply = blocking.xread({key: after}, block=block_ms, count=count)
        if not reply:
            return []
        entries = dict(reply)[key] if isinstance(reply, list) else reply[key][0]  # RESP 2: pairs, RESP 3: a map
        return [_entry(*entry) for entry in entries]

    def follow(self, blocking: Any, after: str, block_ms: int) -> Iterator[JournalEntry | None]:
        """What happens behind a position, without end. None: nothing for `block_ms`, to look around."""
        while True:
            entries = self.wait(blocking, after, block_ms)
            if not entries:
                yield None
            for entry in entries:
                after = entry.id
                yield entry

    # --- positions -------------------------------------------------------------------------------------------

    def position(self, sink: str) -> str:
        """The id of the last entry that a sink has; the beginning for one that has none."""
        return str(self.client.hget(self.keys.sinks, sink) or BEGINNING)

    def save_position(self, sink: str, entry_id: str) -> None:
        """A sink has everything up to this entry."""
        self.client.hset(self.keys.sinks, sink, entry_id)

    def gap(self, after: str) -> bool:
        """Whether entries behind a position may have been trimmed before they were read.

        The entry of the position is gone, so everything up to it was trimmed, and how much beyond it nobody knows: the
        server trims a hundred or so at a time. Asked after a read, the answer holds for that read.
        """
        return after != BEGINNING and not self.client.xrange(self.keys.journal, min=after, max=after, count=1)


def _entry(entry_id: str, fields: dict[str, str]) -> JournalEntry:
    data = {_LONG_NAMES.get(name, name): text for name, text in fields.items() if name not in ("e", _QUEUED)}
    if _QUEUED in fields:
        data |= zip(("wait_ms", "agent", "priority"), fields[_QUEUED].split(" "), strict=False)
    return JournalEntry(entry_id, int(entry_id.partition("-")[0]), fields["e"], data)
