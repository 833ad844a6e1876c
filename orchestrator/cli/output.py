"""How data leaves a command: JSON for programs; tables, colours and symbols for people.

Data goes to standard output; what a command says while it works goes to standard error. Text that comes from users is
never read as markup, and its control characters are shown instead of sent to the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.cli.text import one_line, visible

# Rich is imported by what draws with it: most commands print a line or JSON, and a worker prints nothing.
if TYPE_CHECKING:
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
    "delivered": ("▶", ">", "cyan"),
    "acknowledged": ("✓", "+", "green"),
    "expired": ("⊘", "o", "magenta"),
    "quarantined": ("\u26a0", "!", "yellow"),
    "dead": ("✗", "x", "red"),
    "offered": ("·", ".", "dim"),
    "accepted": ("▶", ">", "cyan"),
    "in_progress": ("▶", ">", "cyan"),
    "completed": ("✓", "+", "green"),
    "declined": ("⊘", "o", "magenta"),
    "ok": ("✓", "+", "green"),
    "warn": ("!", "!", "yellow"),
    "fail": ("✗", "x", "red"),
    "online": ("●", "*", "green"),
    "offline": ("○", "-", "dim"),
}


@cache
def console(*, stderr: bool = False) -> Console:
    """The terminal, or the file, behind one of the two streams. Colours follow NO_COLOR."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def can_draw(*, stderr: bool = False) -> bool:
    """Whether the stream is a terminal that can be drawn on again. FORCE_COLOR makes no file one."""
    screen = console(stderr=stderr)
    return screen.file.isatty() and not screen.is_dumb_terminal


def print_json(document: Any) -> None:
    """One document, indented."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_json_line(document: Any) -> None:
    """One document on one line, at once, for a reader that follows."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


def say(text: str) -> None:
    """One line on standard error."""
    print(visible(text), file=sys.stderr, flush=True)


def look(state: str, *, stderr: bool = False) -> Text:
    """A state with its symbol, in its colour."""
    from rich.text import Text

    symbol, ascii_symbol, style = LOOKS[state]
    return Text(f"{symbol if shows_unicode(stderr) else ascii_symbol} {state}", style=style)


@cache
def shows_unicode(stderr: bool) -> bool:
    """Whether more than ASCII can be written to one of the two streams."""
    # The original streams: a live table puts something without an encoding in their place.
    stream = sys.__stderr__ if stderr else sys.__stdout__
    return stream is not None and stream.encoding.lower().startswith("utf")


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, flexible: str | None = None) -> Table:
    """A table whose `flexible` column gives way when the terminal is narrow; cells that do not fit are cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        least = None if column == flexible else len(column)
        made.add_column(column, no_wrap=True, overflow="ellipsis", min_width=least)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(one_line(cell)) for cell in row))
    return made
