"""JSON that came from outside, read without what Python's reader takes: NaN, infinities, a name twice in an object."""

from __future__ import annotations

import json
from typing import Any

Json = Any


def loads(text: str | bytes) -> Json:
    """The value of a JSON text. Raises ValueError (as json.JSONDecodeError where it tells a place), RecursionError."""
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)


def _refuse(word: str) -> Json:
    raise ValueError(f"{word} is no JSON value")


def _object(pairs: list[tuple[str, Json]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:60]!r} stands twice in one object")
    return found
