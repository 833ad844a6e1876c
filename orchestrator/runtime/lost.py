"""A child process that dies takes its attempt with it: the worker's main process says so at once.

Without it the work would wait until the lease is over, which is what happens when the main process dies too.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Celery
from celery.worker.request import Request

from orchestrator.agents.failures import step_error, worker_lost
from orchestrator.ids import visible_id
from orchestrator.records import MessageRecord
from orchestrator.runtime.engine import Engine
from orchestrator.states import MessageState, StepState
from orchestrator.store.routing import RUN_STEP

log = logging.getLogger(__name__)
_END_S = 1.0  # a child that has closed its files ends at once


@dataclass(frozen=True, slots=True)
class _Death:
    task: str
    task_id: str
    args: tuple[str, ...]
    pid: int
    how: str


_deaths: SimpleQueue[_Death | None] = SimpleQueue()  # a process has one worker; None: it stops


class WatchedRequest(Request):  # type: ignore[misc]
    """Celery's request of a step or a ring, which tells of the death of its child."""

    def send_event(self, type: str, **fields: Any) -> None:
        if type == "task-succeeded" and isinstance(fields["result"], str) and self.task.name == RUN_STEP:
            # Of the step itself, without those that the process has taken after it; see `burst`.
            with suppress(ValueError):
                fields |= {"runtime": float(fields["result"]), "result": "None"}
        super().send_event(type, **fields)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        error = getattr(exc_info.exception, "exc", exc_info.exception)  # billiard wraps it
        if isinstance(error, WorkerLostError) and self.worker_pid:
            told = how_it_died(str(error))
            log.warning("process %d died (%s) while it ran %s %s", self.worker_pid, told, self.name, self.id)
            _deaths.put(_Death(self.task.name, self.id, tuple(self.args), self.worker_pid, told))
            return_ok = True  # Celery would log it once more, with a traceback of its own
        super().on_failure(exc_info, send_failed_event, return_ok)


def how_it_died(text: str) -> str:
    """`signal 9` or `exit code 1`, out of what billiard says."""
    found = re.search(r"(signal|exitcode) (\d+)", text)
    return f"{found[1].replace('exitcode', 'exit code')} {found[2]}" if found else "cause unknown"


def notice_at_once(pool: Any) -> None:
    """Let a prefork pool see a death when it happens.

    Celery looks when the files of a child close, a moment before the child can be waited for, and sees nothing; then it
    looks every 5 s.
    """
    look = pool._event_process_exit

    def wait_and_look(hub: Any, process: Any) -> None:
        process.join(_END_S)
        look(hub, process)

    pool._event_process_exit = wait_and_look


class Undertaker:
    """Takes back what dead children ran.

    Args:
        worker: the worker's node name.
    """

    def __init__(self, app: Celery, worker: str) -> None:
        self._engine: Engine = app.engine
        self._worker = worker

    def tick(self) -> None:
        """Wait for a death, and do what it asks for. After an error the lease does it, later."""
        death = _deaths.get()
        if death is None:
            return
        if death.task == RUN_STEP:
            self._take_back_step(death)
        else:
            self._take_back_message(death)

    def interrupt(self) -> None:
        """Have `tick` return soon."""
        _deaths.put(None)

    def stop(self) -> None:
        """Nothing to give up."""

    def _take_back_step(self, death: _Death) -> None:
        store, settings = self._engine.store, self._engine.settings
        held = store.load_held(self._worker, lease_ms=self._engine.lease_ms)
        if death.pid not in held:
            return
        run_id, step_id = held[death.pid]
        record = store.load_step(run_id, step_id)[1]
        its_own = record.get("worker") == self._worker and record.get("pid") == str(death.pid)
        if record.get("state") != StepState.RUNNING or not its_own:
            return
        error = step_error(worker_lost(settings, death.how), visible_id(step_id), record["attempt"])
        advance = store.lapse_lease(
            run_id, step_id, record["attempt"], max_losses=settings.max_losses, error=error, dead=True
        )
        if advance is not None:
            self._engine.carry_on(advance)

    def _take_back_message(self, death: _Death) -> None:
        inbox, held = self._engine.inbox, self._engine.store.load_held(self._worker, lease_ms=self._engine.lease_ms)
        with_ring = inbox.held_with(death.args[1])
        # The message that the process had taken by itself, or the one that came with the ring.
        for record in inbox.read_many([found for found in (held.get(death.pid, ("", ""))[1], with_ring) if found]):
            if record.state is MessageState.DELIVERED and record.worker == self._worker:
                self._take_back(record, death)

    def _take_back(self, record: MessageRecord, death: _Death) -> None:
        inbox, settings = self._engine.inbox, self._engine.settings
        message_id, attempt = record.message.message_id, len(record.attempts)
        error = step_error(worker_lost(settings, death.how), message_id, attempt)
        ring = inbox.wake("lease", message_id, record.box, attempt, error=error, dead=True)
        self._engine.publish([ring] if ring else [])
