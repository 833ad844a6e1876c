"""Where the expressions are in a text: `${{ expr }}` is one, `$${{` stands for the characters `${{`.

An expression ends at the first `}}` outside quotes and brackets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from orchestrator.workflow.cel_source import TOKEN

SHAPE = "shape large data in an agent or a foreach"  # what the messages about limits of size advise
OPEN = "${{"
ESCAPED = "$${{"
MOST_LETTERS = 8192  # of an expression; the setting `max_expression_bytes` cannot be more
_REMEMBERED = 1000  # letters of a text that is kept with its pieces


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression inside a text; `source` is CEL without the surrounding space."""

    source: str


class Unclosed(ValueError):
    """An expression starts and does not end."""


def split(text: str) -> tuple[str | Expr, ...]:
    """The text as pieces: literal text (never empty) and expressions, in order.

    Raises:
        Unclosed: a `${{` has no `}}` within `MOST_LETTERS`.
    """
    return _split_once(text) if len(text) <= _REMEMBERED else _split(text)


@lru_cache(maxsize=4096)
def _split_once(text: str) -> tuple[str | Expr, ...]:
    return _split(text)


def _split(text: str) -> tuple[str | Expr, ...]:
    pieces: list[str | Expr] = []
    literal = ""
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        if start > at and text[start - 1] == "$":
            literal += text[at : start - 1] + OPEN
            at = start + len(OPEN)
            continue
        literal += text[at:start]
        end = _end(text, start + len(OPEN))
        pieces += (
            [literal, Expr(text[start + len(OPEN) : end].strip())]
            if literal
            else [Expr(text[start + len(OPEN) : end].strip())]
        )
        literal = ""
        at = end + 2
    literal += text[at:]
    return (*pieces, literal) if literal or not pieces else tuple(pieces)


def escape(text: str) -> str:
    """The text written so that `split` gives it back as one literal."""
    return text.replace(OPEN, ESCAPED)


def shorten(text: str, limit: int = 80) -> str:
    """The text in one line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def about(source: str, message: str) -> str:
    """A message about one expression."""
    return f"{OPEN} {shorten(source)} }}}}: {message}"


def _end(text: str, at: int) -> int:
    """Where the `}}` of the expression that starts at `at` begins."""
    depth, until = 0, at + MOST_LETTERS
    while at < min(until, len(text)):
        token = TOKEN.match(text, at, until)  # what may be a long text is looked at as far as an expression goes
        piece = token.group() if token else text[at]
        if piece in ("(", "[", "{"):
            depth += 1
        elif piece == "}" and depth == 0 and text.startswith("}}", at):
            return at
        elif piece in (")", "]", "}"):
            depth = max(depth - 1, 0)
        at += len(piece)
    raise Unclosed(text)
