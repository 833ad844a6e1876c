"""Durations and points in time, as people write them in a workflow."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from orchestrator.workflow.template import shorten

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_duration(value: Any) -> int:
    """Milliseconds of `500ms 30s 5m 24h 7d`. Raises ValueError, which says what to write."""
    found = re.fullmatch(r"([0-9]{1,15})(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if not found:
        bare = isinstance(value, int) and not isinstance(value, bool) and value > 0
        hint = f"write {value}s" if bare else "write it as 500ms, 30s, 5m, 24h or 7d"
        raise ValueError(f"{shorten(repr(value), 60)} is no duration; {hint}")
    return int(found[1]) * _UNITS_MS[found[2]]


def format_duration(ms: int) -> str:
    """The duration as a workflow writes it, in the largest unit that fits."""
    unit = next(unit for unit, size in reversed(_UNITS_MS.items()) if ms % size == 0)
    return f"{ms // _UNITS_MS[unit]}{unit}"


def parse_time(value: Any) -> int:
    """Milliseconds since the epoch of an RFC 3339 time with its zone. Raises ValueError, which says what to write."""
    hint = "write it as 2026-12-24T18:00:00+01:00, or with Z for UTC"
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no time; {hint}") from None
    if found.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; {hint}")
    return round(found.timestamp() * 1000)
