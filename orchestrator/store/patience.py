"""Deadlines, and telling the server something again: when that is safe, and for how long it is worth it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import redis

from orchestrator.store.direct import ReplyLost

T = TypeVar("T")
# InvalidResponse: something listens there that is no Redis, a web server say.
NETWORK_ERRORS = (redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse)
#: What a server answers that takes no changes for now: a full disk, a replica, too few replicas, a busy script.
_CANNOT_WRITE = ("MISCONF", "READONLY", "NOREPLICAS", "BUSY", "MASTERDOWN", "UNBLOCKED")
#: How long a worker tells a claim or an answer again: given up, its work would be done once more.
ANSWER_S = 300.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0

_ends: ContextVar[float | None] = ContextVar("deadline", default=None)


class within:
    """Everything that is asked of a server inside is answered within so many seconds, or redis.TimeoutError."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        before, ends = _ends.get(), time.monotonic() + self._seconds
        self._token = _ends.set(ends if before is None else min(before, ends))

    def __exit__(self, *_: object) -> None:
        _ends.reset(self._token)


class Timely:
    """Makes a connection class keep to the deadline of the caller, whose commands share it."""

    socket_connect_timeout: float | None

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        left_s, usual_s = _left_s(), self.socket_connect_timeout
        if left_s is not None and (usual_s is None or left_s < usual_s):
            self.socket_connect_timeout = left_s
        try:
            return super().connect(*args, **kwargs)  # type: ignore[misc]
        finally:
            self.socket_connect_timeout = usual_s

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        left_s = _left_s()
        if left_s is not None:
            kwargs.setdefault("timeout", left_s)
        return super().read_response(*args, **kwargs)  # type: ignore[misc]


def _left_s() -> float | None:
    ends = _ends.get()
    if ends is None:
        return None
    left_s = ends - time.monotonic()
    if left_s <= 0:
        raise redis.TimeoutError("no time left")
    return left_s


def cannot_write(error: Exception) -> bool:
    """Whether the server is there and refuses every change for now."""
    return isinstance(error, redis.ResponseError) and any(word in str(error) for word in _CANNOT_WRITE)


def insist(call: Callable[[bool], T], *, for_s: float, unsent: bool = True) -> T:
    """Tell the server something until it answers, at most for so long.

    Args:
        call: safe to repeat; its argument says whether an answer was lost, so that it may have happened already.
        unsent: also try again what certainly has not happened; else the caller is told at once.
    Raises:
        ReplyLost: whether it has happened is unknown. What redis-py raises: it has not.
    """
    ends, pause_s, again = time.monotonic() + for_s, FIRST_PAUSE_S, False
    while True:
        try:
            return call(again)
        except redis.RedisError as error:
            again = again or isinstance(error, ReplyLost)
            passing = isinstance(error, NETWORK_ERRORS) or cannot_write(error)
            if not passing or not (again or unsent):
                raise
            if time.monotonic() + pause_s > ends:
                if again and not isinstance(error, ReplyLost):
                    raise ReplyLost(str(error)) from error
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
