"""JSON that came from outside: from a program or from a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from orchestrator import Fatal
from orchestrator.strict import loads

Json = Any
_SHOWN_CHARS = 80


def encoded(values: dict[str, Json]) -> bytes:
    """The values of a step as one line of JSON, in ASCII."""
    return json.dumps(values, allow_nan=False).encode() + b"\n"


def decoded(answer: bytes, who: str, *, hide: Callable[[str], str] = str) -> Json:
    """The one JSON value of an answer, which is UTF-8.

    Args:
        who: the beginning of the error's sentence.
        hide: takes out of the text that is quoted what nobody may see.
    Raises:
        Fatal: it is no JSON; quotes its beginning.
    """
    if not answer.strip():
        raise Fatal(f"{who} gave no JSON, but nothing")
    try:
        return loads(answer.decode())
    except (ValueError, RecursionError) as error:
        text = hide(answer.decode("utf-8", "replace"))[:_SHOWN_CHARS]
        raise Fatal(f"{who} gave no JSON: {error}; it begins with {text!r}") from None
