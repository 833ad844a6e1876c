"""Text for people that commands and pages share."""

from __future__ import annotations


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
