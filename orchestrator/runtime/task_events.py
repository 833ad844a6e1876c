"""Task events for the steps that a process takes by itself, so that Flower shows each of them as any other task.

The worker's main process sends those of the messages that it deals out. Events are gathered and sent by a thread ten
times a second, as the main process does it, and a step that is over by then is one event instead of three: an event at
a time would cost more than a step.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from celery import Celery

from orchestrator.records import Claim
from orchestrator.runtime.event_batches import INTERVAL_S
from orchestrator.store.routing import task_id_of


class TaskEvents:
    """The events of one process of a pool, which runs one step at a time.

    Args:
        worker: the worker's node name.
    """

    def __init__(self, app: Celery, worker: str) -> None:
        self._dispatcher: Any = app.events.Dispatcher(
            app.connection_for_write(), hostname=worker, enabled=app.conf.worker_send_task_events,
            buffer_while_offline=False, buffer_group=frozenset({"task"}), buffer_limit=sys.maxsize,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._begun: dict[str, Any] = {}  # of the step that runs, until it is told
        self._some = threading.Event()
        threading.Thread(target=self._send, name="task-events", daemon=True).start()

    def started(self, claim: Claim) -> None:
        """A step begins whose message the main process has not seen."""
        args = (claim.run_id, claim.step_id)
        root, parent = (step and task_id_of(claim.run_id, step) for step in (claim.root, claim.parent))
        with self._lock:
            self._begun = {
                "uuid": task_id_of(*args), "name": f"{claim.step.agent}.{claim.step.task}", "args": repr(args),
                "kwargs": "{}", "root_id": root, "parent_id": parent, "started": time.time(),
            }  # fmt: skip
        self._some.set()

    def ended(self, claim: Claim, runtime_s: float) -> None:
        """Its attempt is over; what came of it stands in the store, and Celery's task has done its work."""
        with self._lock:
            about, self._begun = self._begun, {}
        if about:
            about["received"] = about["started"]
        else:
            about = {"uuid": task_id_of(claim.run_id, claim.step_id)}
        self._dispatcher.send("task-succeeded", **about, result="None", runtime=runtime_s)
        self._some.set()

    def _send(self) -> None:
        while True:
            self._some.wait()
            time.sleep(INTERVAL_S)
            self._some.clear()
            with self._lock:
                about, self._begun = self._begun, {}
            if about:
                self._dispatcher.send("task-received", **about)
                self._dispatcher.send("task-started", uuid=about["uuid"])
            try:
                self._dispatcher.flush()
            except Exception:  # the server is away: events are for eyes
                self._dispatcher.connection.close()
