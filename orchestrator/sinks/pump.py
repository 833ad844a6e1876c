"""`Pump`: carries the journal to a sink, in batches, at least once.

The position is saved after the sink has kept a batch, so a crash in between repeats that batch and loses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.client import Client
from orchestrator.records import rfc3339
from orchestrator.sinks.sink import Sink
from orchestrator.store.connection import guard
from orchestrator.store.journal import BEGINNING, Journal

log = logging.getLogger(__name__)
BATCH = 500  # entries in one write: an fsync, or three calls of a server
_BLOCK_MS = 500


@dataclass(frozen=True, slots=True)
class Pumped:
    """What was carried. `gaps`: how often entries were trimmed from the journal before they could be read."""

    entries: int
    position: str
    gaps: int


class Pump:
    """Feeds one sink from its saved position on; a new sink gets what the journal still has.

    Args:
        warn: is told, in one line, that entries are missing.
    """

    def __init__(self, client: Client, sink: Sink, *, warn: Callable[[str], object] = log.warning) -> None:
        self._client = client
        self._sink = sink
        self._warn = warn
        self._journal = Journal(client.store.client, client.store.keys)
        self._after = BEGINNING
        self._entries = self._gaps = 0

    def run_once(self) -> Pumped:
        """Carry what the journal has now.

        Raises:
            SinkFailed: the sink cannot keep it. StoreUnavailable.
        """
        with guard(self._client.url):
            self._start()
            newest = self._journal.newest()
            while _place(self._after) < _place(newest) and self._carry(block_ms=None):
                pass
        return Pumped(self._entries, self._after, self._gaps)

    def run(self, stopped: Callable[[], bool] = lambda: False) -> Pumped:
        """Carry what the journal has, and what comes, until `stopped` says so. Raises as `run_once`."""
        with guard(self._client.url):
            self._start()
            while not stopped():
                self._carry(block_ms=_BLOCK_MS)
        return Pumped(self._entries, self._after, self._gaps)

    def _start(self) -> None:
        self._after = self._journal.position(self._sink.name)
        self._entries = self._gaps = 0

    def _carry(self, *, block_ms: int | None) -> bool:
        """One batch; whether there was one."""
        if block_ms is None:
            batch = self._journal.read(self._after, BATCH)
        else:
            batch = self._journal.wait(self._client.blocking, self._after, block_ms, BATCH)
        if not batch:
            return False
        if self._journal.gap(self._after):
            self._gaps += 1
            since, until = (rfc3339(_place(place)[0]) for place in (self._after, batch[0].id))
            self._warn(f"ENTRIES ARE MISSING in {self._sink.name}: the journal was trimmed between {since} and {until}")
        self._sink.write(batch)
        self._after = batch[-1].id
        self._journal.save_position(self._sink.name, self._after)
        self._entries += len(batch)
        return True


def _place(entry_id: str) -> tuple[int, int]:
    at, _, number = entry_id.partition("-")
    return int(at), int(number or 0)
