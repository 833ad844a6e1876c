"""How long something took, for people: the same words in a terminal and on a page."""

from __future__ import annotations


def duration(span_ms: int | None) -> str:
    """`0.3 s`, `42 s`, `3m 05s`, `2h 10m`, `3d 4h`; nothing for a time that is not known."""
    if span_ms is None:
        return ""
    seconds = max(0, span_ms) / 1000
    if seconds < 9.95:  # what is rounded up belongs to the next kind: never `10.0 s`, nor `60 s`
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, rest = divmod(minutes, 60)
    return f"{hours}h {rest:02d}m" if hours < 48 else f"{hours // 24}d {hours % 24}h"
