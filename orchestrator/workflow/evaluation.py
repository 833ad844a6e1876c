"""Runs one compiled CEL expression over plain values, in this process, and turns what comes out into JSON.

CEL cannot be interrupted and holds the interpreter, so whoever calls `run` has made sure that it ends soon, or is a
helper process (`evaluator.py`) that may be killed. docs/decisions/0002-expressions.md has the measurements.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from orchestrator.workflow.cel_library import cel
from orchestrator.workflow.functions import extensions

Json = Any
MAX_RESULT_BYTES = 32 << 20  # of the value of one expression, and of all that one template brings together
_INT64 = range(-(2**63), 2**63)


class NotJson(ValueError):
    """The result of an expression is no JSON value."""


@lru_cache(maxsize=2048)
def program(source: str) -> cel.Program:
    """The compiled form; the caller has bounded the length and the nesting, which would overflow the parser's stack.

    Raises:
        ValueError: the text is not CEL.
    """
    return cel.compile(source)


def run(source: str, variables: dict[str, Any], functions: tuple[str, ...]) -> Json:
    """Evaluate and convert.

    Raises:
        NotJson: the result is no JSON value. Anything else CEL raises: the evaluation failed.
    """
    extra = extensions(functions)
    context: Any = cel.Context(variables, extra) if extra else variables
    return to_json(program(source).execute(context))


def to_json(value: Any) -> Json:
    """The value CEL gave, as JSON: optionals are unwrapped, what has no JSON form is refused."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        if value not in _INT64:
            raise NotJson("the result does not fit into 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJson(f"the result is {value}, which is no JSON value; check for a division by zero")
        return value
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {_key(key): to_json(item) for key, item in value.items()}
    if isinstance(value, cel.OptionalValue):
        return to_json(value.value()) if value.has_value() else None
    raise NotJson(f"the result is {_KINDS.get(type(value), 'a value')}, which is no JSON value; write string(...)")


_KINDS = {datetime: "a timestamp", timedelta: "a duration", bytes: "bytes"}


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    raise NotJson(f"a map has the key {key!r}; keys of JSON are text")
