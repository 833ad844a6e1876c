"""Text for people: on one line, without control characters, with times that read easily."""

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
