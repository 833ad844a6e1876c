"""Workers that belong to one command: they start when it says so and never outlive it.

A fork is safe only from a process without threads and connections, which a command has as soon as it talks to the
server. So the command forks the supervisor first, and tells it later, through a pipe, what to start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from orchestrator.errors import OrchestratorError
from orchestrator.runtime.processes import fork
from orchestrator.runtime.supervisor import Supervisor


class Launcher:
    """The command's side of a supervisor in a process of its own. A context manager; leaving it stops everything.

    Args:
        start: what a child does, given its name; see `Supervisor`.
        grace_s: seconds the children get to finish what they run when the command ends.
        log: a descriptor for what they write; default: standard error.
    """

    def __init__(self, start: Callable[[str], int], *, grace_s: float, log: int | None = None) -> None:
        self.started: list[str] = []
        self._grace_s = grace_s
        orders, self._orders = os.pipe()

        def in_child() -> None:
            os.close(self._orders)
            if log is not None:
                os.dup2(log, 2)

        self._pid = fork(lambda: Supervisor(start, orders=orders).run(), in_child=in_child)
        os.close(orders)

    def start(self, names: Iterable[str]) -> None:
        """Start a child for each name that has none yet.

        Raises:
            OrchestratorError: the supervisor was killed.
        """
        for name in names:
            if name not in self.started:
                if not self.alive:
                    raise OrchestratorError("The process that looks after the workers was killed")
                self._order(f"start {name}")
                self.started.append(name)

    @property
    def alive(self) -> bool:
        """Whether the supervisor looks after the children; when it dies, they do."""
        if self._pid and os.waitpid(self._pid, os.WNOHANG)[0]:
            self._pid = 0
        return self._pid != 0

    def stop(self) -> None:
        """Stop everything that was started and wait for its end. Ctrl-C while it waits ends the rest at once."""
        if not self.alive:
            return
        try:
            self._order(f"stop {self._grace_s}")
            os.waitpid(self._pid, 0)
        except KeyboardInterrupt:
            self._order("kill")
            os.waitpid(self._pid, 0)
        self._pid = 0
        os.close(self._orders)

    def _order(self, line: str) -> None:
        try:
            os.write(self._orders, line.encode() + b"\n")
        except BrokenPipeError:
            pass  # the supervisor has just died; `alive` says so from now on

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
