"""Small pieces of Markdown that hold whatever text they are given, hostile file names included.

A cell never contains a raw pipe or a line break, so that a table row stays a table row in every renderer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

Cell = str | int

_CELL_CHARS = 160
_BAR_CHARS = 24
# Reading order marks make a name look like another one.
_BIDI = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_AS_ENTITY = {ord(char): f"&#{ord(char)};" for char in "&<>|`*_[]\\~$"}


def code(text: str) -> str:
    """The text in a typewriter face, character by character as it is."""
    text = visible(text)
    if not text:
        return ""
    if "|" in text:
        # Renderers disagree on a pipe in a code span of a table, and on a backslash before it.
        return f"<code>{text.translate(_AS_ENTITY)}</code>"
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def plain(text: str) -> str:
    """The text as itself: nothing in it acts as Markdown or HTML."""
    return visible(text).translate(_AS_ENTITY)


def visible(text: str) -> str:
    """The text on one line, at most 160 characters, its control characters as pictures (a newline is `␊`)."""
    if len(text) > _CELL_CHARS:
        half = _CELL_CHARS // 2
        text = f"{text[:half]}…{text[1 - half :]}"
    return "".join(map(_picture, text))


def bar(value: int, most: int) -> str:
    """A bar as long as the value's share of `most`; any value above 0 is seen."""
    return "█" * max(round(_BAR_CHARS * value / most), 1) if value > 0 else ""


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table whose columns line up in the source as well; columns of numbers are right-aligned. No rows: `None.`"""
    if not rows:
        return "None."
    columns = list(zip(*rows, strict=True))
    numeric = [all(isinstance(cell, int) for cell in column) for column in columns]
    widths = [max(3, len(name), *(len(str(cell)) for cell in column))
              for name, column in zip(header, columns, strict=True)]  # fmt: skip
    rule = ["-" * (width - 1) + ":" if right else "-" * width for right, width in zip(numeric, widths, strict=True)]
    return "\n".join(_row(cells, widths, numeric) for cells in [header, rule, *rows])


def _row(cells: Sequence[Cell], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    parts = (
        str(cell).rjust(width) if right else str(cell).ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    )
    return f"| {' | '.join(parts)} |"


def _picture(char: str) -> str:
    if char < " ":
        return chr(0x2400 + ord(char))
    if char in _BIDI or unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs"):
        return "\ufffd"
    return char
