"""`Sums`: what the journal adds up to. The server counts, each entry once; see lua/count_journal.lua.

Whoever asks for metrics has it count what is new. The keeper goes on for a day after that, so that no entry is trimmed
before it was counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from orchestrator.store.keys import Keys
from orchestrator.store.scripts import Scripts, function_name

BATCH = 500  # entries of one script: at most 3 ms in which nobody else is served
ASKED_MS = 86_400_000
_SHORT_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000)
_LONG_MS = (100, 1000, 5000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000, 604_800_000)
#: Histogram -> its bounds. What was counted under other bounds stays valid: each count is kept with its own.
BOUNDS_MS: dict[str, tuple[int, ...]] = {
    "run_duration_seconds": _LONG_MS,
    "attempt_duration_seconds": _SHORT_MS,
    "step_queue_wait_seconds": _SHORT_MS,
    "message_queue_wait_seconds": _SHORT_MS,
    "message_duration_seconds": _SHORT_MS,
}
_BOUNDS = json.dumps(BOUNDS_MS)
_SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True)
class Spread:
    """One series of a histogram. `counts`: bound in ms, or infinity -> how many were at most this, and above the next
    lower one."""

    total_ms: int
    counts: Mapping[float, int]


@dataclass(frozen=True, slots=True)
class Sum:
    """One series: the family's name without its prefix, its labels, and the sum."""

    family: str
    labels: tuple[str, ...]
    value: int | Spread


class Sums:
    """The sums of one server."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._keys = keys
        self._scripts = Scripts(client)

    def count(self, *, asked_ms: int = ASKED_MS, batches: int | None = None) -> int:
        """Count what is new, in one round trip for each 500 entries; an idle journal costs one.

        Args:
            asked_ms: for how long the keeper goes on to count after this; 0: it is the keeper.
            batches: at most so many.
        Returns:
            Entries that are left; -1: it is the keeper, and nobody asks.
        Script: count_journal.lua.
        """
        left, done = 1, 0
        while left > 0 and (batches is None or done < batches):
            left, done = self._scripts.ask("count_journal", *self._call(asked_ms))[0], done + 1
        return int(left)

    def command(self) -> list[Any]:
        """The same, of one batch and for whoever asks, as a command for a pipeline."""
        keys, args = self._call(ASKED_MS)
        return ["FCALL", function_name("count_journal"), len(keys), *keys, *args]

    def _call(self, asked_ms: int) -> tuple[list[str], list[Any]]:
        keys = self._keys
        return [keys.journal, keys.sums, keys.open_runs, keys.sums_asked], [BATCH, _BOUNDS, asked_ms]


def parse_sums(fields: Mapping[str, str]) -> Iterator[Sum]:
    """What the hash of sums holds."""
    for field, text in fields.items():
        if not field.startswith("@"):
            family, *labels = field.split(_SEPARATOR)
            yield Sum(family, tuple(labels), _spread(text) if family in BOUNDS_MS else int(text))


def _spread(text: str) -> Spread:
    total, *pairs = text.replace(":", " ").split(" ")
    return Spread(int(total), dict(zip(map(float, pairs[::2]), map(int, pairs[1::2]), strict=True)))
