"""Text for people: on one line, without control characters, with times and durations that read easily."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any


def visible(text: str) -> str:
    """The text with its control characters shown, as `\\x1b`, so that it cannot repaint a terminal. Line ends stay."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def one_line(value: Any, limit: int = 200) -> str:
    """A value as JSON, or a text as it is, on one line of at most that many characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = visible(" ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clock(at_ms: int) -> str:
    """`12:00:01`, local time."""
    return datetime.fromtimestamp(at_ms / 1000).strftime("%H:%M:%S")


def day_and_clock(at_ms: int) -> str:
    """`2026-05-01 12:00:01`, local time."""
    return datetime.fromtimestamp(at_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")


def moment(at_ms: int) -> str:
    """The time of day, with the date unless it is today's."""
    today = datetime.now().date() == datetime.fromtimestamp(at_ms / 1000).date()
    return clock(at_ms) if today else day_and_clock(at_ms)


def duration(span_ms: int | None) -> str:
    """`0.3 s`, `42 s`, `3m 05s`, `2h 10m`; nothing for a time that is not known."""
    if span_ms is None:
        return ""
    seconds = max(0, span_ms) / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"
