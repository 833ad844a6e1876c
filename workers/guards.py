"""Ends the programs of a process that was killed: nobody else would, and the step's next attempt starts another one.

A process that runs programs has one guard, which hears of each on a pipe. The kernel closes the pipe with the process,
however that ends; what the guard still knows then is killed.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

_GUARD = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    number = int(line)
    (groups.add if number > 0 else groups.discard)(abs(number))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""
_PATIENCE_S = 1.0  # with the guard, when the process ends
_lock = threading.Lock()
_guards: dict[int, subprocess.Popen[bytes]] = {}  # by process: a fork has one of its own


@contextmanager
def guarded(group: int) -> Iterator[None]:
    """For the time of a `with`, the process group ends with this process."""
    _tell(group)
    try:
        yield
    finally:
        _tell(-group)


@atexit.register
def _dismiss() -> None:
    """Nothing is left of a process that ends in order. What it did not wait for itself ends here."""
    guard = _guards.pop(os.getpid(), None)
    if guard is not None and guard.stdin is not None:
        with suppress(OSError, subprocess.TimeoutExpired):
            guard.stdin.close()
            guard.wait(_PATIENCE_S)


def _tell(number: int) -> None:
    with _lock, suppress(OSError):  # of a guard that somebody has killed; the program is more important
        pipe = _pipe()
        pipe.write(b"%d\n" % number)
        pipe.flush()


def _pipe() -> IO[bytes]:
    guard = _guards.get(os.getpid())
    if guard is None:
        # A session of its own: what is sent to the group of the worker is not meant for it.
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd="/", start_new_session=True,
        )  # fmt: skip
        _guards.clear()
        _guards[os.getpid()] = guard
    assert guard.stdin is not None
    return guard.stdin
