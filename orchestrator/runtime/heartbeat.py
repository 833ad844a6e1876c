"""The worker's heartbeat: who is here, and the leases of what runs here.

It beats in the worker's main process, so that a handler that holds its own interpreter cannot starve it.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Any

from celery import Celery
from celery.worker import state

from orchestrator.agents.agent import Agent
from orchestrator.errors import RunNotFound
from orchestrator.runtime.engine import Engine
from orchestrator.store.connection import server_now_ms
from orchestrator.store.routing import RING, RUN_STEP, step_of
from orchestrator.store.runs import Lease

log = logging.getLogger(__name__)
CLOCK_S = 30.0  # so long the server's clock is counted on by this machine's, which may stand still in a sleep


class Heartbeat:
    """One worker's sign of life.

    Args:
        worker: the worker's node name.
        children: whether attempts run in child processes, which a signal can interrupt.
    """

    def __init__(self, app: Celery, worker: str, agents: list[Agent], *, children: bool) -> None:
        self._engine: Engine = app.engine
        self._worker = worker
        self._agents = [agent.info for agent in agents]
        self._children = children
        self._known = False  # whether the server knows this worker and its agents
        self._asked_s = -CLOCK_S  # when the server was asked for its clock, and how far that is ahead of monotonic time
        self._ahead_ms = 0.0

    def beat(self) -> None:
        """Report presence and extend the lease of every attempt this worker runs."""
        # The leases first: whoever looks for agents can wait, an attempt whose lease lapses is done again.
        active = list(state.active_requests)
        steps = [request for request in active if request.type == RUN_STEP]  # its name is the shadow, `writer.draft`
        held = self._engine.store.load_held(self._worker, lease_ms=self._engine.lease_ms) if active else {}
        for request in steps:
            self._extend(request, held)
        rings = [request for request in active if request.type == RING and not self._overdue(request)]
        # The message that came with the ring, and the one that the process has taken after it.
        messages = [request.args[1] for request in rings]
        messages += [held[request.worker_pid][1] for request in rings if request.worker_pid in held]
        if messages:
            self._engine.inbox.extend(messages, receiver=self._worker, lease_ms=self._engine.lease_ms)
        self._sign()

    def _sign(self) -> None:
        """One command, as long as the server has not forgotten this worker."""
        names = [agent.name for agent in self._agents]
        if self._known and self._engine.directory.still_serves(self._worker, names, self._server_ms()):
            return
        self._known = False
        self._ring_for(self._engine.directory.heartbeat(self._worker, self._agents))
        self._known = True

    def _server_ms(self) -> int:
        """The server's clock, asked for now and then, and counted on in between."""
        now_s = time.monotonic()
        if now_s - self._asked_s >= CLOCK_S:
            self._ahead_ms = server_now_ms(self._engine.client) - now_s * 1000
            self._asked_s = now_s
        return round(now_s * 1000 + self._ahead_ms)

    def _overdue(self, request: Any) -> bool:
        """Whether a thread, which nothing can interrupt, has had its time: its lease may lapse."""
        limit_s = self._engine.settings.message_timeout_s
        if self._children or limit_s is None or request.time_start is None:
            return False
        return bool(time.time() - request.time_start > limit_s)

    def _ring_for(self, boxes: list[str]) -> None:
        """Call this worker for what came to an agent before it had one."""
        for box in boxes:
            self._engine.publish(self._engine.inbox.ring_all(box))
        if boxes:
            self._engine.directory.note_rung(boxes)  # only now: who is cut short before rings again

    def _extend(self, request: Any, held: dict[int, tuple[str, str]]) -> None:
        # A process goes on with other steps than the one whose message it was given; a thread does not.
        pid = (self._children and request.worker_pid) or 0
        if self._children and pid not in held:
            return
        run_id, step_id = held[pid] if pid else step_of(request.id)
        try:
            lease = self._engine.store.extend_lease(
                run_id, step_id, worker=self._worker, lease_ms=self._engine.lease_ms, pid=pid
            )
        except RunNotFound:
            return
        if lease is Lease.CANCELLED and self._children and request.worker_pid:
            log.warning("%s %s is cancelled: interrupting process %d", run_id, step_id, request.worker_pid)
            # The signal of Celery's soft time limit: it raises inside the handler.
            os.kill(request.worker_pid, signal.SIGUSR1)

    def interrupt(self) -> None:
        """Nothing: `beat` does not wait."""

    def start(self) -> None:
        """Announce the agents."""
        self._announce("agent.started")

    def _announce(self, event: str) -> None:
        for agent in self._agents:
            self._engine.directory.announce(event, agent.name, most=self._engine.settings.journal_events)

    def stop(self) -> None:
        """Say goodbye, so that nobody waits for the presence to lapse."""
        self._announce("agent.stopped")
        self._engine.directory.leave(self._worker, [agent.name for agent in self._agents])
