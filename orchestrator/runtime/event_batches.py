"""Task events for Flower go out ten times a second instead of at every turn of the worker's event loop.

Celery buffers them anyway, up to 24; sent at every turn they cost two commands and 2 KB a step.
"""

from __future__ import annotations

from typing import Any, ClassVar

from celery import bootsteps

INTERVAL_S = 0.1


class EventBatches(bootsteps.StartStopStep):  # type: ignore[misc]
    """Flushes the buffer by a timer. A full buffer is flushed by Celery itself."""

    requires: ClassVar[set[str]] = {"celery.worker.consumer.events:Events"}

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        dispatcher = consumer.event_dispatcher
        if consumer.hub is not None and dispatcher is not None:
            dispatcher.on_send_buffered = None
            self._timer = consumer.timer.call_repeatedly(INTERVAL_S, dispatcher.flush)

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
