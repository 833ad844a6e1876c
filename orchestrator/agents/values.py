"""What counts as a JSON value, checked where values enter the store: outputs of handlers and inputs of runs."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from orchestrator.errors import HandlerOutputInvalid, LimitExceeded

_LONG_NUMBER = re.compile("[1-9][0-9]{18}")  # what is outside 64 bits has 19 digits or more, and no zero before them
_INT64 = range(-(2**63), 2**63)
MAX_DEPTH = 200  # as in YAML: readers of JSON recurse, and a worker's stack is deeper than that of who wrote it


def encode(value: Any, *, max_bytes: int, what: str) -> str:
    """The value as compact JSON text.

    Pydantic models, dataclasses, dates, sets and tuples become what pydantic makes of them in JSON.

    Raises:
        HandlerOutputInvalid: no JSON: NaN, an infinity, an integer outside 64 bits, a lone surrogate, an object, a key
            that is no text, what contains itself or is nested deeper than 200.
        LimitExceeded: longer than `max_bytes` of UTF-8.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise _too_deep(what) from None
    except (TypeError, ValueError):
        text = _encode_objects(value, what)
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise HandlerOutputInvalid(f"{what} holds half of a surrogate pair, which is no text") from None
    if size > max_bytes:
        raise LimitExceeded(f"{what} is {size:,} bytes as JSON; the limit is {max_bytes:,}")
    _check_shape(value, what)
    if _LONG_NUMBER.search(text):
        _check_integers(json.loads(text), what)
    return text


def _encode_objects(value: Any, what: str) -> str:
    try:
        plain = to_jsonable_python(value, inf_nan_mode="constants")
        _check_shape(plain, what)
        return json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise _too_deep(what) from None
    except (PydanticSerializationError, TypeError, ValueError) as error:
        reason = "NaN or an infinity" if "Out of range float" in str(error) else str(error)
        raise HandlerOutputInvalid(f"{what} is not JSON: {reason}") from None


def _check_shape(value: Any, what: str) -> None:
    """Python writes the keys 1, None and True as text without a word. The value contains itself nowhere."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise _too_deep(what)
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                for key in item:
                    if not isinstance(key, str):
                        raise HandlerOutputInvalid(f"{what} has the key {key!r}, and keys are text")
                below.extend(item.values())
            elif isinstance(item, (list, tuple)):
                below.extend(item)
        level = below


def _too_deep(what: str) -> HandlerOutputInvalid:
    return HandlerOutputInvalid(f"{what} is nested deeper than {MAX_DEPTH}")


def _check_integers(value: Any, what: str) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, int) and item not in _INT64:
            raise HandlerOutputInvalid(f"{what} holds the integer {item}, which is outside 64 bits")
