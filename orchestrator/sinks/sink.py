"""What a sink is, and how it fails. A sink knows neither the server nor its position: `pump.py` feeds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.errors import OrchestratorError
from orchestrator.records import JournalEntry


class SinkFailed(OrchestratorError):
    """A sink cannot take the journal's entries."""


class Sink(Protocol):
    """Takes the entries of the journal."""

    @property
    def name(self) -> str:
        """What its position is saved under: the same place must have the same name at every start."""

    def write(self, entries: Sequence[JournalEntry]) -> None:
        """Keep these entries, oldest first. When it returns they are safe, because the position moves behind them.

        After a crash the newest of them come again, so a second write of an entry must do no harm.

        Raises:
            SinkFailed: they could not be kept; the position stays.
        """

    def close(self) -> None:
        """Nothing more comes."""
