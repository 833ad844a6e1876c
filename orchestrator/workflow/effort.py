"""How much one compilation spends on what a small file can make expensive: hints for wrong names, patterns.

Both cost as much as somebody writes mistakes times names, or repetitions in a pattern. What is spent is gone: later
mistakes of a file are told without a hint, later patterns are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_NAMES = 10_000  # that hints look at; 20 us each, five times that for long ones
_WEIGHT = 100_000  # of patterns, see `patterns.weight`; the heaviest take 84 ms for 6,500


@dataclass
class _Left:
    names: int = _NAMES
    weight: int = _WEIGHT
    patterns: set[str] = field(default_factory=set)


_left: ContextVar[_Left | None] = ContextVar("effort", default=None)


@contextmanager
def bounded() -> Iterator[None]:
    """For the time of a `with`, one compilation; what it compiles on the way is part of it."""
    if _left.get() is not None:
        yield
        return
    token = _left.set(_Left())
    try:
        yield
    finally:
        _left.reset(token)


def may_look_at(names: int) -> bool:
    """Whether so many names may be compared with a wrong one. Outside of a compilation: a thousand."""
    left = _left.get()
    if left is None:
        return names <= 1000
    if names > left.names:
        return False
    left.names -= names
    return True


def may_compile(pattern: str, weight: int) -> bool:
    """Whether one more pattern may be compiled; the same one costs nothing."""
    left = _left.get()
    if left is None or pattern in left.patterns:
        return weight <= _WEIGHT
    if weight > left.weight:
        return False
    left.patterns.add(pattern)
    left.weight -= weight
    return True
