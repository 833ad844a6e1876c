"""`Founding`: since when a database holds what it holds, and whether it was emptied or replaced under us.

A permanent mark, set once by the first worker and remembered by every worker's keeper. A mark that is gone, or another
one, says that somebody deleted the data, that the server came back without them, or that the address now leads
elsewhere. Whoever sees it notes it beside the fresh mark, for the audit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from orchestrator.ids import new_id
from orchestrator.store.connection import server_now_ms
from orchestrator.store.keys import Keys


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark of a database. `since_ms` is when the oldest thing in it was made, as far as that is known.

    `lost_id` is the mark that was there before, `lost_ms` when a worker saw that it was not there any more.
    """

    id: str
    since_ms: int
    lost_id: str | None = None
    lost_ms: int | None = None


class Founding:
    """The mark of one database, as one process remembers it."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client  # see RunReader
        self._keys = keys
        self._known: str | None = None

    def read(self) -> Mark | None:
        """None: no worker has run on this database."""
        mark_id, since, lost_id, lost_at = self._client.hmget(self._keys.founding, "id", "since", "lost_id", "lost_at")
        return Mark(mark_id, int(since), lost_id, int(lost_at) if lost_at else None) if mark_id else None

    def watch(self) -> str | None:
        """Look at the mark, and set it where there is none. What is to be told if it is not the one of before."""
        found = self._client.hget(self._keys.founding, "id")
        if found is not None and found == self._known:
            return None
        lost, mark_id = self._known, self._set(found is None)
        self._known = mark_id
        if lost is None or lost == mark_id:
            return None
        how = "its mark is gone" if found is None else "it has another mark"
        return (
            f"THE DATA ARE NOT THOSE OF BEFORE: {how}. They were deleted (FLUSHALL), or the server lost them, or the "
            "address leads to another database now. What had been accepted is not there; see `orchestrator audit`"
        )

    def _set(self, missing: bool) -> str:
        """Set the mark if it is missing, and note which one this process knew. Returns the mark that holds."""
        now_ms = server_now_ms(self._client)
        with self._client.pipeline(transaction=True) as pipe:
            if missing:
                pipe.hsetnx(self._keys.founding, "id", new_id())
                pipe.hsetnx(self._keys.founding, "since", min(now_ms, self._oldest_ms(now_ms)))
            if self._known is not None:
                pipe.hsetnx(self._keys.founding, "lost_id", self._known)
                pipe.hsetnx(self._keys.founding, "lost_at", now_ms)
            pipe.hget(self._keys.founding, "id")
            return str(pipe.execute()[-1])

    def _oldest_ms(self, now_ms: int) -> int:
        """When the oldest thing was made that tells its time: what was there before the mark belongs to it."""
        runs = self._client.zrange(self._keys.runs, 0, 0, withscores=True)
        entries = self._client.xrange(self._keys.journal, count=1)
        times = [int(score) for _, score in runs] + [int(entry_id.partition("-")[0]) for entry_id, _ in entries]
        return min(times, default=now_ms)
