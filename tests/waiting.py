"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], *, what: str, timeout_s: float, every_s: float = 0.02) -> T:
    """Call `predicate` until what it returns is true, and return that.

    Raises:
        AssertionError: not within `timeout_s`; names `what` was waited for.
    """
    until = time.monotonic() + timeout_s
    while not (found := predicate()):
        assert time.monotonic() < until, f"waited {timeout_s:g} s for {what}"
        time.sleep(every_s)
    return found
