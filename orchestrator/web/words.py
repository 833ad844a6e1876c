"""Times and values as the pages write them. The exact value goes into a title beside it."""

from __future__ import annotations

import json
import time
from typing import Any

from orchestrator.messages import content_of
from orchestrator.records import rfc3339

SHOWN = 140  # characters of a value in a table


def now_ms() -> int:
    """By the clock of this machine: ages are for people, nothing is decided by them."""
    return round(time.time() * 1000)


def age(at_ms: int | None, now: int) -> str:
    """`just now`, `42 s ago`, `3 min ago`, `5 h ago`, `2 d ago`."""
    if at_ms is None:
        return ""
    seconds = (now - at_ms) // 1000
    if seconds < 1:
        return "just now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def moment(at_ms: int | None) -> str:
    """`2026-05-01 12:00:00 UTC`, for titles and details."""
    told = rfc3339(at_ms)
    return f"{told[:10]} {told[11:19]} UTC" if told else ""


def brief(value: Any, limit: int = SHOWN) -> str:
    """A value on one line; a text as it is."""
    content = content_of(value)
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def whole(value: Any) -> str:
    """A value as people read it: a text as it is, JSON indented."""
    content = content_of(value)
    return content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False)
