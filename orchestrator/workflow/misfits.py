"""Does a value fit a JSON Schema? The answer comes in bounded time, whatever the schema and the value.

The library checks the keywords; those that take longer than the text and the value are long are replaced here. A
schema that refers to itself twice may still double the work with each level, so that every keyword looks at the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any

from orchestrator.workflow.patterns import matches

Json = Any
Schema = dict[str, Json]
LIMIT_S = 30.0  # 8 MiB of small records take about 10 s
_MAX_MESSAGE = 300
_deadline: ContextVar[float] = ContextVar("deadline")


class _TooLong(Exception):
    """The deadline is over."""


def misfit(schema: Schema, value: Json, *, limit_s: float = LIMIT_S) -> str | None:
    """Where a value does not fit a schema, or None. A check that takes longer than `limit_s` is a misfit too."""
    _deadline.set(time.monotonic() + limit_s)
    try:
        error = next(iter(_validator()(schema).iter_errors(value)), None)
    except _TooLong:
        return f"the check takes longer than {limit_s:g} s"
    except ArithmeticError:  # the library divides for `multipleOf`
        return "a number is too large or too small to be compared"
    except BaseException as error:
        # The library's maps are in Rust, which panics where Python's stack ends within a comparison.
        if not isinstance(error, RecursionError) and type(error).__name__ != "PanicException":
            raise
        return "the schema refers to itself too often"
    if error is None:
        return None
    return f"{error.json_path}: {error.message}" if error.path else str(error.message)


def shortened(message: str) -> str:
    """At most 300 characters: the library writes the value first, and what is wrong with it last."""
    half = (_MAX_MESSAGE - 5) // 2
    return message if len(message) <= _MAX_MESSAGE else f"{message[:half]} ... {message[-half:]}"


@cache
def _validator() -> Any:
    """The class of validators that end in time."""
    from jsonschema import Draft202012Validator  # 0.1 s that most commands do not need
    from jsonschema.validators import extend

    ours = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    keywords = {**Draft202012Validator.VALIDATORS, **ours}
    return extend(Draft202012Validator, {name: _timed(keyword) for name, keyword in keywords.items()})


def _timed(keyword: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def check(validator: Any, wanted: Json, value: Json, schema: Schema) -> Iterator[Any]:
        if time.monotonic() > _deadline.get():
            raise _TooLong
        for error in keyword(validator, wanted, value, schema) or ():
            error.message = shortened(error.message)  # `anyOf` keeps one for each alternative
            yield error

    return check


def _error(message: str) -> Any:
    from jsonschema.exceptions import ValidationError

    return ValidationError(message)


def _pattern(validator: Any, wanted: str, value: Json, schema: Schema) -> Iterator[Any]:
    if isinstance(value, str) and not matches(wanted, value):
        yield _error(f"{value!r} does not match {wanted!r}")


def _pattern_properties(validator: Any, wanted: Schema, value: Json, schema: Schema) -> Iterator[Any]:
    if isinstance(value, dict):
        for pattern, below in wanted.items():
            for key in filter(lambda key: matches(pattern, key), value):
                yield from validator.descend(value[key], below, path=key, schema_path=pattern)


def _additional_properties(validator: Any, wanted: Json, value: Json, schema: Schema) -> Iterator[Any]:
    if not isinstance(value, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for key in value.keys() - known.keys():
        if any(matches(pattern, key) for pattern in patterns):
            continue
        if wanted is False:
            yield _error(f"{key!r} is not allowed: there is no such property")
        else:
            yield from validator.descend(value[key], wanted, path=key)


def _unique_items(validator: Any, wanted: bool, value: Json, schema: Schema) -> Iterator[Any]:
    if wanted and isinstance(value, list) and len({_alike(item) for item in value}) < len(value):
        yield _error(f"{value!r} has an item twice")


def _alike(value: Json) -> Any:
    """The same for what JSON Schema holds for equal: 1 and 1.0, but not 1 and true."""
    if isinstance(value, dict):
        return frozenset((key, _alike(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(map(_alike, value))
    return (type(value), value) if isinstance(value, bool) else value
