"""Following a run from a command: events, records and presence are read, and a view of them is kept up to date."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from orchestrator.cli.live import LineView, TreeView, View
from orchestrator.cli.output import can_draw, console, say
from orchestrator.cli.reading_on import read_on
from orchestrator.client import Client
from orchestrator.errors import StoreUnavailable
from orchestrator.records import Event, RunRecord
from orchestrator.run_handle import RunHandle
from orchestrator.store.connection import guard, server_now_ms
from orchestrator.store.run_log import BEGINNING
from orchestrator.workflow.plan import Plan

LOOK_S = 1.0  # between two looks at who is online: another `run` may stop the workers that this one counts on
ASK_S = 0.25  # between two looks at the records of steps that have begun to wait


class Serving(Protocol):
    """Sees to it that somebody serves the agents of the run that is followed; see `serving.Serving`."""

    @property
    def serves(self) -> bool: ...

    def look(self, plan: Plan, online: Collection[str]) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Away:
    """The server does not answer, and why; None: it does again."""

    reason: str | None


class Follower:
    """Shows a run until it ends, on standard error or, with `stdout`, on standard output.

    A server that goes away meanwhile is waited for.
    """

    def __init__(
        self, client: Client, handle: RunHandle, serving: Serving | None = None, *, stdout: bool = False
    ) -> None:
        self._client = client
        self._handle = handle
        self._serving = serving
        self._stdout = stdout
        self._events: queue.SimpleQueue[Event | Away | Exception | None] = queue.SimpleQueue()
        with guard(client.url):
            self._plan = client.store.read_plan(handle.id)

    def follow(self, timeout_s: float | None = None) -> RunRecord:
        """Show the run until it ends or the time is over.

        Returns:
            The run as it is then; not terminal when the time was over first.
        """
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        threading.Thread(target=self._read, name="events", daemon=True).start()
        try:
            with self._view() as view:
                self._show(view, until)
        except KeyboardInterrupt:
            self._say_how_to_go_on()
            raise
        finally:
            if self._serving:
                self._serving.stop()
        return self._handle.record()

    def _view(self) -> View:
        if not can_draw(stderr=not self._stdout):
            return LineView(self._plan, self._handle.id)
        with guard(self._client.url):
            skew_ms = server_now_ms(self._client.store.client) - int(time.time() * 1000)
        screen = console(stderr=not self._stdout)
        return TreeView(self._plan, self._handle.id, screen, self._handle.steps(), skew_ms=skew_ms)

    def _show(self, view: View, until: float) -> None:
        look_at = ask_at = 0.0
        while (now := time.monotonic()) < until:
            if now >= look_at:
                with suppress(StoreUnavailable):  # the thread that reads the events tells of it
                    self._look(view)
                look_at = now + LOOK_S
            if now >= ask_at:
                with suppress(StoreUnavailable):
                    self._ask(view)
                ask_at = now + ASK_S
            try:
                event = self._events.get(timeout=max(0.0, min(look_at, ask_at, until) - time.monotonic()))
            except queue.Empty:
                continue
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Away):
                view.away(event.reason)
            else:
                view.take(event)

    def _look(self, view: View) -> None:
        online = {load.name for load in self._client.loads() if load.workers}
        if self._serving:
            self._serving.look(self._plan, online)
        view.look_at(online)

    def _ask(self, view: View) -> None:
        if names := view.unknown():
            with self._client.asking():
                view.learn(self._client.store.read_records(self._handle.id, names))

    def _read(self) -> None:
        """Runs in a thread of its own, because a read blocks for longer than Ctrl-C and time-outs may wait."""
        try:
            for event in read_on(self._client, self._follow, BEGINNING, lambda why: self._events.put(Away(why))):
                self._events.put(event)
            self._events.put(None)
        except Exception as error:
            self._events.put(error)

    def _follow(self, after: str) -> Iterator[Event]:
        return self._handle.events(follow=True, after=after)

    def _say_how_to_go_on(self) -> None:
        run_id = self._handle.id
        say(f"run {run_id} is not cancelled:")
        if self._serving and self._serving.serves:
            say(f"  orchestrator worker {' '.join(self._plan.agents)}  goes on with it")
        say(f"  orchestrator events {run_id} --follow  follows it")
        say(f"  orchestrator cancel {run_id}  ends it")
