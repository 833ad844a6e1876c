"""The functions an expression may call: those of CEL itself and the extensions for strings, lists and numbers.

Three kinds need care before an expression is evaluated: `GROWING` ones can make far more than they were given,
`LETTERWISE` ones visit each letter in Python, `QUADRATIC` ones compare everything with everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.workflow.cel_library import STDLIB_FUNCTIONS

NATIVE = frozenset(
    {
        "size",
        "has",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "dyn",
        "type",
        "timestamp",
        "duration",
        "getFullYear",
        "getMonth",
        "getDayOfYear",
        "getDayOfMonth",
        "getDate",
        "getDayOfWeek",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
        "optional.of",
        "optional.none",
        "hasValue",
        "value",
        "orValue",
        "or",
    }
)
KNOWN = NATIVE | frozenset(STDLIB_FUNCTIONS)
GROWING = frozenset({"replace", "join", "split", "matches", "strings.quote"})
LETTERWISE = frozenset({"upperAscii", "lowerAscii", "strings.quote"})
QUADRATIC = frozenset({"distinct", "sets.contains", "sets.equivalent", "sets.intersects"})


MAX_RANGE = 100_000


def extensions(names: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """The implementations of those of the named functions that CEL lacks; registering all of them costs 40 us."""
    return {name: _EXTENSIONS[name] for name in names if name in _EXTENSIONS}


def _range(n: int) -> list[int]:
    if n > MAX_RANGE:
        raise ValueError(f"lists.range makes at most {MAX_RANGE:,} items")
    return list(range(n))


_EXTENSIONS: dict[str, Callable[..., Any]] = {**STDLIB_FUNCTIONS, "lists.range": _range}
