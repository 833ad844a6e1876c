"""Values put in the places of the expressions of a template, whoever finds out what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.workflow.budget import lighter
from orchestrator.workflow.evaluation import MAX_RESULT_BYTES
from orchestrator.workflow.template import OPEN, SHAPE, Expr, Unclosed, about, shorten, split

Json = Any


class Filling:
    """Puts values into one template, up to a size: a short template may name a large value many times."""

    def __init__(self, value_of: Callable[[str], Json]) -> None:
        self._value_of = value_of
        self._first: Json = None
        self._count = 0
        self._left = MAX_RESULT_BYTES

    def fill(self, template: Json) -> Json:
        """The template with every expression replaced. Raises ExpressionError, also for what `value_of` raises."""
        if isinstance(template, str):
            return self._text(template) if OPEN in template else template
        if isinstance(template, (list, tuple)):
            return [self.fill(item) for item in template]
        if isinstance(template, dict):
            return {key: self.fill(value) for key, value in template.items()}
        return template

    def _text(self, text: str) -> Json:
        try:
            pieces = split(text)
        except Unclosed:
            raise ExpressionError(f"{shorten(text)}: `{OPEN}` is never closed") from None
        if len(pieces) == 1 and isinstance(pieces[0], Expr):
            return self._value(pieces[0].source)
        return "".join(piece if isinstance(piece, str) else as_text(self._value(piece.source)) for piece in pieces)

    def _value(self, source: str) -> Json:
        value = self._value_of(source)
        self._count += 1
        if self._count == 1:
            self._first = value  # has its own limit; most templates name one value, which need not be weighed
            return value
        if self._count == 2:
            self._left = lighter(self._left, self._first)
        self._left = lighter(self._left, value)
        if self._left < 0:
            most = f"the values of this template are larger than {MAX_RESULT_BYTES >> 20} MiB together"
            raise ExpressionError(about(source, f"{most}; {SHAPE}"))
        return value


def as_text(value: Json) -> str:
    """What a value becomes inside text: a string as it is, everything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
