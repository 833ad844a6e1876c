"""What a worker does besides running steps: threads of its main process: the heartbeat, the keeper, the undertaker.

Threads, and not timers of Celery's event loop, because that loop stands still while a solo worker runs a step.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from celery import bootsteps
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.signals import worker_shutdown

from orchestrator.agents.agent import Agent
from orchestrator.errors import SettingsInvalid
from orchestrator.identity import read_key
from orchestrator.runtime.heartbeat import Heartbeat
from orchestrator.runtime.keeper import Keeper, explain
from orchestrator.runtime.lost import Undertaker, notice_at_once
from orchestrator.settings import Settings
from orchestrator.store.routing import queue_of
from orchestrator.store.signatures import ADVICE

log = logging.getLogger(__name__)
_PAUSE_S = 1.0  # after an error, the server being away most of all


class Lifecycle(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the threads when the worker's pool is up, and ends them when it has run dry.

    A step that requires the pool is stopped before it, while attempts may still run for long. Their leases must be
    kept, so the threads end with Celery's signal that the worker has shut down.
    """

    requires: ClassVar[set[str]] = {"celery.worker.components:Pool"}

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._parts: list[Heartbeat | Keeper | Undertaker] = []
        _refuse_strangers(parent.app)
        check_key(parent.app.engine.settings)

    def start(self, worker: Any) -> None:
        engine = worker.app.engine
        children = isinstance(worker.pool, PreforkPool)
        heartbeat = Heartbeat(worker.app, worker.hostname, _served(worker.app), children=children)
        keeper = Keeper(worker.app, worker.hostname)
        undertaker = Undertaker(worker.app, worker.hostname)
        self._parts = [heartbeat, keeper, undertaker]
        if children:
            notice_at_once(worker.pool._pool)
        interval_s = engine.settings.lease_s / 3

        announced = threading.Event()

        def beat() -> None:
            heartbeat.beat()
            if not announced.is_set():
                heartbeat.start()
                announced.set()
            self._ended.wait(interval_s)

        worker_shutdown.connect(self._end, sender=worker, weak=False)
        self._run("heartbeat", beat)
        self._run("keeper", keeper.tick)
        self._run("undertaker", undertaker.tick)

    def stop(self, worker: Any) -> None:
        """Nothing yet: the pool still works off what it runs."""

    def terminate(self, worker: Any) -> None:
        """A cold stop: what runs is given up, so its lease may lapse."""
        self._end()

    def _end(self, **_: Any) -> None:
        self._ended.set()
        self._tell("interrupt")
        for thread in self._threads:
            thread.join(timeout=2 * _PAUSE_S)
        self._tell("stop")
        self._parts = []

    def _tell(self, what: str) -> None:
        for part in self._parts:
            try:
                getattr(part, what)()
            except Exception as error:
                log.info("no goodbye: %s", explain(error))

    def _run(self, name: str, turn: Callable[[], object]) -> None:
        def loop() -> None:
            away = False
            while not self._ended.is_set():
                try:
                    turn()
                    away = False
                except Exception as error:
                    log.log(logging.DEBUG if away else logging.WARNING, "%s: %s", name, explain(error))
                    away = True
                    self._ended.wait(_PAUSE_S)

        thread = threading.Thread(target=loop, name=f"orchestrator-{name}", daemon=True)
        thread.start()
        self._threads.append(thread)


def _refuse_strangers(app: Any) -> None:
    """A worker that cannot serve a queue must not take messages from it."""
    prefix = app.engine.settings.prefix
    known = {queue_of(name, prefix) for name in app.engine.registry.names}
    for queue in sorted(app.amqp.queues.consume_from):
        if queue.startswith(queue_of("", prefix)) and queue not in known:
            agent = queue.removeprefix(queue_of("", prefix))
            sources = ", ".join(app.engine.settings.agents)
            raise SystemExit(f"No agent {agent!r} in {sources}: set ORCHESTRATOR_AGENTS to the file that defines it.")


def require_key(settings: Settings) -> None:
    """A worker speaks for the agents it serves and checks what all others say: it needs the key of the installation.

    Raises:
        SettingsInvalid: it has the key of one agent.
    """
    if settings.key_file is not None and (agent := read_key(settings.key_file).agent) is not None:
        raise SettingsInvalid(f"ORCHESTRATOR_KEY_FILE: that is the key of {agent}; a worker needs the installation's.")


def check_key(settings: Settings) -> None:
    """The same where Celery starts the worker, which tells what leads out of it."""
    try:
        require_key(settings)
    except SettingsInvalid as error:
        raise SystemExit(error.message) from None
    if settings.key_file is None and not settings.embedded:
        log.warning("messages are not signed: whoever may write to the server can speak for any agent (%s)", ADVICE)


def _served(app: Any) -> list[Agent]:
    registry = app.engine.registry
    consumed = set(app.amqp.queues.consume_from)
    return [registry.get(name) for name in registry.names if queue_of(name, app.engine.settings.prefix) in consumed]
