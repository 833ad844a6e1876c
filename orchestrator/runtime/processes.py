"""Forking a child that cannot outlive its parent, and ending one with everything it has started.

The parent must hold no thread and no connection when it forks: the child begins as its copy.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import NoReturn

from orchestrator.errors import OrchestratorError

_PR_SET_PDEATHSIG = 1


class Lifeline:
    """A pipe whose other end closes when the parent ends, however it ends. Make it before the first fork."""

    def __init__(self) -> None:
        self._end, self._held = os.pipe()

    def tie(self) -> None:
        """In the child: end with the whole process group as soon as the parent is gone.

        Not Linux's parent-death signal: it ends one process, and leaves what an agent has started.
        """
        os.close(self._held)
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def _watch(self) -> None:
        os.read(self._end, 1)
        kill_group(os.getpid())


def fork(run: Callable[[], int], *, in_child: Callable[[], None]) -> int:
    """Run a function in a child with a process group of its own, standard input closed and output on standard error.

    Args:
        run: its result is the exit code; an exception is printed and the code is 1.
        in_child: called first; gives up what belongs to the parent alone.
    Returns:
        The child's process id, which is its group's id too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _live(run, in_child)
    try:
        os.setpgid(pid, pid)  # by both sides, so that it is true for both as soon as they go on
    except OSError:
        pass  # the child was faster, or has ended
    return pid


def die_with_parent(name: str = "SIGKILL") -> None:
    """Have this process get the signal when the one that forked it is gone, however it went. Linux knows how."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.Signals[name]))


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def kill_group(pid: int) -> None:
    """End a child made by `fork` and everything it has started, at once."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nobody is left; macOS says it with the second


def _live(run: Callable[[], int], in_child: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        in_child()
        _detach_streams()
        code = run()
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except OrchestratorError as error:
        print(error.message, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)  # not sys.exit: what the parent has registered for its own exit is not the child's to do


def _detach_streams() -> None:
    """Standard output is for the command's data, and reading from the terminal would stop a background process."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
