"""Task events for the steps and messages that a process takes by itself, so that Flower shows each as any other task.

The worker's main process sends those of the messages that it deals out. Events are gathered and sent by a thread ten
times a second, as the main process does it, and an attempt that is over by then is one event instead of three: an event
at a time would cost more than a step.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from celery import Celery

from orchestrator.runtime.event_batches import INTERVAL_S


class TaskEvents:
    """The events of one process of a pool, which runs one attempt at a time.

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

    def started(self, task_id: str, **about: str | None) -> None:
        """An attempt begins whose message the main process has not seen.

        Args:
            about: fields of `task-received`: name, args, and where they are known root_id and parent_id.
        """
        with self._lock:
            self._begun = {"uuid": task_id, "kwargs": "{}", "started": time.time(), **about}
        self._some.set()

    def ended(self, task_id: str, runtime_s: float) -> None:
        """The attempt is over; what came of it stands in the store, and Celery's task has done its work."""
        with self._lock:
            about, self._begun = self._begun, {}
        if about:
            about["received"] = about["started"]
        else:
            about = {"uuid": task_id}
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
