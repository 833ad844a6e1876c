"""Serving the agents of a run while a command follows it, where nobody else does."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.cli.keeping import Keeping
from orchestrator.cli.output import say
from orchestrator.client import Client
from orchestrator.runtime.launcher import Launcher
from orchestrator.workflow.plan import Plan


class Serving:
    """Workers for the agents of a run, and a keeper where nobody serves any.

    Args:
        workers: starts workers; only for agents that are named here and that nobody serves.
        startable: the agents this process has loaded.
    """

    def __init__(self, client: Client, workers: Launcher, startable: Collection[str]) -> None:
        self._client = client
        self._workers = workers
        self._startable = startable
        self._waiting_for: set[str] = set()
        self._keeping: Keeping | None = None

    def look(self, plan: Plan, online: Collection[str]) -> None:
        """Start what is missing, and say what cannot be started."""
        missing = [name for name in plan.agents if name not in online]
        self._workers.start(name for name in missing if name in self._startable)
        if not online and not self._workers.started and self._keeping is None:
            self._keeping = Keeping(self._client.app)
        for name in missing:
            if name not in self._startable and name not in self._waiting_for:
                self._waiting_for.add(name)
                say(f"nobody serves the agent {name}, and it is not defined here: waiting for a worker")

    @property
    def serves(self) -> bool:
        """Whether there are workers that end with the command."""
        return bool(self._workers.started)

    def stop(self) -> None:
        if self._keeping:
            self._keeping.stop()
