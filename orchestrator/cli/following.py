"""Following a run from the command that submitted it, and seeing to it that somebody serves its agents."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Collection

from orchestrator.cli.keeping import Keeping
from orchestrator.cli.live import view_for
from orchestrator.cli.output import say
from orchestrator.client import Client
from orchestrator.records import Event, RunRecord
from orchestrator.run_handle import RunHandle
from orchestrator.runtime.launcher import Launcher
from orchestrator.store.connection import guard

LOOK_S = 1.0  # between two looks at who is online: another `run` may stop the workers that this one counts on


class Follower:
    """Shows a run until it ends.

    Args:
        workers: starts workers; only for agents that are named here and that nobody serves.
        startable: the agents this process has loaded.
    """

    def __init__(self, client: Client, handle: RunHandle, workers: Launcher, startable: Collection[str]) -> None:
        self._client = client
        self._handle = handle
        self._workers = workers
        self._startable = startable
        self._waiting_for: set[str] = set()
        self._keeping: Keeping | None = None
        self._events: queue.SimpleQueue[Event | Exception | None] = queue.SimpleQueue()
        with guard(client.url):
            self._plan = client.store.read_plan(handle.id)

    def follow(self, timeout_s: float | None) -> RunRecord:
        """Show the run until it ends or the time is over.

        Returns:
            The run as it is then; not terminal when the time was over first.
        """
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        threading.Thread(target=self._read, name="events", daemon=True).start()
        try:
            with view_for(self._plan, self._handle.id, self._handle.steps()) as view:
                look_at = 0.0
                while time.monotonic() < until:
                    if time.monotonic() >= look_at:
                        self._serve()
                        look_at = time.monotonic() + LOOK_S
                    try:
                        event = self._events.get(timeout=max(0.0, min(look_at, until) - time.monotonic()))
                    except queue.Empty:
                        continue
                    if event is None:
                        break
                    if isinstance(event, Exception):
                        raise event
                    view.take(event)
        except KeyboardInterrupt:
            self._say_how_to_go_on()
            raise
        finally:
            if self._keeping:
                self._keeping.stop()
        return self._handle.record()

    def _read(self) -> None:
        """Runs in a thread of its own, because a read blocks for longer than Ctrl-C and time-outs may wait."""
        try:
            for event in self._handle.events(follow=True):
                self._events.put(event)
            self._events.put(None)
        except Exception as error:
            self._events.put(error)

    def _serve(self) -> None:
        online = {agent["name"] for agent in self._client.agents() if agent["presence"] == "online"}
        missing = [name for name in self._plan.agents if name not in online]
        self._workers.start(name for name in missing if name in self._startable)
        if not online and not self._workers.started and self._keeping is None:
            self._keeping = Keeping(self._client.app)
        for name in missing:
            if name not in self._startable and name not in self._waiting_for:
                self._waiting_for.add(name)
                say(f"nobody serves the agent {name}, and it is not defined here: waiting for a worker")

    def _say_how_to_go_on(self) -> None:
        agents = " ".join(self._plan.agents)
        serve = f"`orchestrator worker {agents}` goes on with it, " if self._workers.started else ""
        say(f"run {self._handle.id} is not cancelled: {serve}`orchestrator cancel {self._handle.id}` ends it")
