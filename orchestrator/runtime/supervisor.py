"""One process that forks a child per name, starts it again when it ends by itself, and leaves nothing behind.

It knows nothing of Celery: a child is a function of its name. `launcher.py` gives it orders from another process.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import FrameType

from orchestrator.backoff import retry_delay_ms
from orchestrator.runtime.processes import Lifeline, fork, kill, kill_group

logger = logging.getLogger(__name__)

ORPHANED_GRACE_S = 1.0  # for the children when whoever gave the orders is gone
COLD_S = 3.0  # from the cold stop to SIGKILL
LONGEST_PAUSE_MS = 30_000  # between two starts of a child that ends again and again
STEADY_S = 60.0  # a child that lived so long is started again as if it had never failed


@dataclass
class _Child:
    """One name, its process (0: none), and when it was started or is due to be. Times are monotonic seconds."""

    name: str
    pid: int = 0
    started: float = 0.0
    due: float = 0.0
    failures: int = 0


class Supervisor:
    """Runs children until it is told to stop.

    Args:
        start: what a child does, given its name; the result is its exit code.
        orders: a descriptor with one order a line: `start NAME`, `stop SECONDS`, `kill`. Its end means that whoever
            gave the orders is gone, and stops everything.
        grace_s: seconds the first SIGINT or SIGTERM leaves to the children; None: as long as they need.
    """

    def __init__(self, start: Callable[[str], int], *, orders: int | None = None, grace_s: float | None = None) -> None:
        self._start = start
        self._orders = orders
        self._unread = b""
        self._grace_s = grace_s
        self._children: dict[str, _Child] = {}
        self._lifeline = Lifeline()
        self._signalled, self._wakeup = os.pipe()
        self._harsher: list[Callable[[int], None]] = []
        self._stop_due: float | None = None
        self._stopping = False

    def run(self, names: Iterable[str] = ()) -> int:
        """Start the names, follow orders and signals, and return 0 when told to stop and everything has stopped."""
        self._listen()
        for name in names:
            self._add(name)
        while not self._stopping or any(child.pid for child in self._children.values()):
            self._wait()
            self._reap()
            self._do_what_is_due()
        return 0

    def stop(self, grace_s: float | None) -> None:
        """Let the children finish what they run; asked a second time, do not wait for it; a third time, kill."""
        if not self._stopping:
            self._stopping = True
            self._harsher = [partial(kill, number=signal.SIGTERM), partial(kill, number=signal.SIGQUIT), kill_group]
            self._stop_harder(grace_s)
        else:
            self._stop_harder(COLD_S)

    # --- what it hears --------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        os.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, _only_wake)

    def _wait(self) -> None:
        """Block until a signal, an order or the next due time."""
        dues = [self._stop_due] if self._stopping else [c.due for c in self._children.values() if not c.pid]
        known = [due for due in dues if due is not None]
        timeout_s = max(0.0, min(known) - time.monotonic()) if known else None
        sources = [self._signalled] if self._orders is None else [self._signalled, self._orders]
        ready, _, _ = select.select(sources, [], [], timeout_s)
        if self._signalled in ready:
            for number in os.read(self._signalled, 4096):
                if number in (signal.SIGINT, signal.SIGTERM):
                    self.stop(self._grace_s)
        if self._orders in ready:
            self._obey(os.read(self._orders, 65536))

    def _obey(self, data: bytes) -> None:
        if not data:
            self._orders = None
            if not self._stopping:
                self.stop(ORPHANED_GRACE_S)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            order, _, word = line.decode().partition(" ")
            if order == "start":
                self._add(word)
            elif order == "stop":
                self.stop(float(word))
            elif order == "kill":
                self._stopping, self._harsher = True, [kill_group]
                self._stop_harder(COLD_S)

    # --- what it does ---------------------------------------------------------------------------------------------

    def _add(self, name: str) -> None:
        if not self._stopping and name not in self._children:
            self._children[name] = _Child(name)
            self._fork(self._children[name])

    def _fork(self, child: _Child) -> None:
        child.pid = fork(partial(self._start, child.name), in_child=self._in_child)
        child.started = time.monotonic()

    def _in_child(self) -> None:
        for descriptor in (self._signalled, self._wakeup, self._orders):
            if descriptor is not None:
                os.close(descriptor)
        self._lifeline.tie()

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        if self._stopping:
            if self._stop_due is not None and self._stop_due <= now:
                self._stop_harder(COLD_S)
            return
        for child in self._children.values():
            if not child.pid and child.due <= now:
                self._fork(child)

    def _stop_harder(self, harder_in_s: float | None) -> None:
        """Take the next step of the stop; the one after it follows in so many seconds, or never by itself."""
        if self._harsher:
            end = self._harsher.pop(0)
            for child in self._children.values():
                if child.pid:
                    end(child.pid)
        self._stop_due = time.monotonic() + harder_in_s if harder_in_s is not None and self._harsher else None

    def _reap(self) -> None:
        for child in self._children.values():
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                kill_group(pid)  # what an agent has started and left running
                child.pid = 0
                if not self._stopping:
                    self._plan_restart(child, os.waitstatus_to_exitcode(status))

    def _plan_restart(self, child: _Child, code: int) -> None:
        now = time.monotonic()
        child.failures = 1 if now - child.started > STEADY_S else child.failures + 1
        pause_ms = retry_delay_ms(child.failures, delay_ms=500, max_delay_ms=LONGEST_PAUSE_MS)
        child.due = now + pause_ms / 1000
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        logger.warning("%s %s; it starts again in %.1f s", child.name, how, pause_ms / 1000)


def _only_wake(number: int, frame: FrameType | None) -> None:
    """The number reaches the loop through the wake-up descriptor."""
