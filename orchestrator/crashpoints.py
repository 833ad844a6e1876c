"""Places where a process can be made to kill itself, so that tests find out what a crash there costs.

`ORCHESTRATOR_CRASHPOINT=NAME` ends the process by SIGKILL when it comes to that place, `NAME:3` the third time. Each
process counts for itself. Nothing is counted where the variable is not set.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum

VARIABLE = "ORCHESTRATOR_CRASHPOINT"


class CrashPoint(StrEnum):
    """In the order in which a step, or a message, comes by."""

    ACCEPTED = "accepted"  # the store has a run or a message; nobody has been sent for it
    POPPED = "popped"  # a worker has taken a message off its queue
    LEASED = "leased"
    HANDLER_BEGUN = "handler_begun"
    EFFECT_DONE = "effect_done"  # the handler has returned
    RESULT_RECORDED = "result_recorded"
    NEXT_QUEUED = "next_queued"  # the messages of what became ready are sent
    ACKED = "acked"
    SWEPT = "swept"  # the keeper has taken what is due, and done nothing yet


def parse(text: str) -> tuple[CrashPoint, int]:
    """The place, and the how many-th time. Raises ValueError."""
    name, colon, count = text.partition(":")
    if name not in set(CrashPoint) or (colon and not (count.isdigit() and int(count))):
        raise ValueError(f"{text!r} is no crash point; write NAME or NAME:N, with a NAME of {', '.join(CrashPoint)}")
    return CrashPoint(name), int(count or 1)


_wanted: CrashPoint | None = None
_left = 0
try:
    _wanted, _left = parse(os.environ[VARIABLE])
except (KeyError, ValueError):  # `Settings` refuses a wrong one
    pass


def reach(point: CrashPoint) -> None:
    """The process has come to a place."""
    global _left
    if point is _wanted:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
