"""Events for Flower go out together, and only while there is something to tell.

Celery sends the events of tasks at every turn of the worker's event loop, which costs two commands and 2 KB a step, and
a heartbeat every 2 s, also of a worker that does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from celery import bootsteps
from celery.worker import control

INTERVAL_S = 0.1  # after the first event of a batch; a full buffer of 24 is flushed by Celery itself
NEWS_S = 2.0  # until a heartbeat tells how many tasks run, after an event says that it has changed
BEAT_S = 20  # between the heartbeats of a worker with nothing to tell; Flower calls it offline after twice that
BEAT = "worker-heartbeat"
_enable_events = control.enable_events


class EventBatches(bootsteps.StartStopStep):  # type: ignore[misc]
    """Sets a timer when the first event of a batch is buffered, and one for the heartbeat."""

    requires: ClassVar[set[str]] = {"celery.worker.consumer.heart:Heart"}

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timers: dict[Callable[[], None], Any] = {}

    def start(self, consumer: Any) -> None:
        dispatcher, heart = consumer.event_dispatcher, consumer.heart
        if consumer.hub is None or dispatcher is None:
            return
        actions = {dispatcher.flush: INTERVAL_S}
        if heart is not None:
            actions[partial(heart._send, BEAT)] = NEWS_S

        def buffered() -> None:
            for action, seconds in actions.items():
                self._soon(consumer.timer, seconds, action)

        dispatcher.on_send_buffered = buffered

    def stop(self, consumer: Any) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _soon(self, timer: Any, seconds: float, action: Callable[[], None]) -> None:
        """Do it once in so many seconds, however often it is asked for until then."""

        def due() -> None:
            del self._timers[action]
            action()

        if action not in self._timers:
            self._timers[action] = timer.call_after(seconds, due)


@control.control_command()  # type: ignore[untyped-decorator]
def enable_events(state: Any) -> Any:
    """Celery's own, and a heartbeat: Flower asks every 5 s, and does not know of a worker that it has not heard of."""
    heart = state.consumer.heart
    if heart is not None:
        heart._send(BEAT)
    return _enable_events(state)
