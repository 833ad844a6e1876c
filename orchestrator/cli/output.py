"""How values look: JSON for programs; tables, times and symbols for people.

Data goes to standard output; what a command says while it works goes to standard error. Text that comes from users is
never read as markup, and its control characters are shown instead of sent to the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 10_000  # columns; a program that reads a table wants no cell cut

# state -> (symbol, the same in ASCII, colour)
LOOKS = {
    "pending": ("·", ".", "dim"),
    "running": ("▶", ">", "cyan"),
    "waiting": ("…", "~", "yellow"),
    "paused": ("‖", "=", "yellow"),
    "succeeded": ("✓", "+", "green"),
    "failed": ("✗", "x", "red"),
    "cancelled": ("⊘", "o", "magenta"),
    "skipped": ("-", "-", "dim"),
    "ok": ("✓", "+", "green"),
    "warn": ("!", "!", "yellow"),
    "fail": ("✗", "x", "red"),
    "online": ("●", "*", "green"),
    "offline": ("○", "-", "dim"),
}


@cache
def console(*, stderr: bool = False) -> Console:
    """The terminal, or the file, behind one of the two streams. Colours follow NO_COLOR."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def print_json(document: Any) -> None:
    """One document, indented."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_json_line(document: Any) -> None:
    """One document on one line, at once, for a reader that follows."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


def say(text: str) -> None:
    """One line on standard error."""
    print(visible(text), file=sys.stderr, flush=True)


def visible(text: str) -> str:
    """The text with its control characters shown, as `\\x1b`, so that it cannot repaint a terminal. Line ends stay."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def one_line(value: Any, limit: int = 200) -> str:
    """A value as JSON, or a text as it is, on one line of at most that many characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = visible(" ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def look(state: str, *, stderr: bool = False) -> Text:
    """A state with its symbol, in its colour."""
    symbol, ascii_symbol, style = LOOKS[state]
    return Text(f"{symbol if _unicode(stderr) else ascii_symbol} {state}", style=style)


@cache
def _unicode(stderr: bool) -> bool:
    # The original streams: a live table puts something without an encoding in their place.
    stream = sys.__stderr__ if stderr else sys.__stdout__
    return stream is not None and stream.encoding.lower().startswith("utf")


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, flexible: str | None = None) -> Table:
    """A table whose `flexible` column gives way when the terminal is narrow; cells that do not fit are cut."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, no_wrap=True, overflow="ellipsis", min_width=None if column == flexible else len(column))
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(one_line(cell)) for cell in row))
    return made


def clock(at_ms: int) -> str:
    """`12:00:01`, local time."""
    return datetime.fromtimestamp(at_ms / 1000).strftime("%H:%M:%S")


def day_and_clock(at_ms: int) -> str:
    """`2026-05-01 12:00:01`, local time."""
    return datetime.fromtimestamp(at_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")


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
