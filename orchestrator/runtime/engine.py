"""`Engine`: what one process needs to carry runs on: settings, store, agents, executor. Built when first used.

A forked child builds its own connections; the agents, loaded before the fork, are shared.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import redis
from billiard.common import terminate_handler_fired
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from orchestrator.agents.decisions import carry_on
from orchestrator.agents.executor import Executor
from orchestrator.agents.handler_logs import HandlerLogs
from orchestrator.agents.loading import AgentRegistry, load_agents
from orchestrator.agents.post import PostOffice
from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.records import Advance, Posted
from orchestrator.runtime.broker import BROKER_AWAY
from orchestrator.runtime.canvas import dispatch
from orchestrator.runtime.doorbells import doorbell, publish, silent
from orchestrator.runtime.task_events import TaskEvents
from orchestrator.settings import Settings
from orchestrator.store.connection import blocking, connect
from orchestrator.store.directory import Directory
from orchestrator.store.inbox import Inbox
from orchestrator.store.keys import Keys
from orchestrator.store.quarantine import Quarantine
from orchestrator.store.run_log import RunLog
from orchestrator.store.runs import RunStore
from orchestrator.store.timers import Timers

T = TypeVar("T")
KEEPER_BLOCK_S = 5.0


log = logging.getLogger(__name__)


@dataclass
class Engine:
    """The parts of one process.

    Args:
        app: publishes what the store's scripts cannot.
        url: the server that keeps the state.
    """

    app: Celery
    settings: Settings
    url: str
    _registry: AgentRegistry | None = field(default=None, repr=False)
    _made: dict[str, tuple[int, Any]] = field(default_factory=dict, repr=False)

    @property
    def one_server(self) -> bool:
        """Whether the broker is the server that keeps the state, so that one script can change both."""
        return self.settings.broker_url is None

    @property
    def lease_ms(self) -> int:
        return round(self.settings.lease_s * 1000)

    @property
    def client(self) -> redis.Redis:
        return connect(self.url, deadline_s=self.settings.deadline_s)

    @property
    def keys(self) -> Keys:
        return Keys(self.settings.prefix)

    @property
    def store(self) -> RunStore:
        return self._own("store", lambda: RunStore(self.client, self.keys, one_server=self.one_server))

    @property
    def inbox(self) -> Inbox:
        bells = partial(doorbell, prefix=self.settings.prefix) if self.one_server else silent
        return self._own("inbox", lambda: Inbox(self.client, self.keys, self.settings, bells))

    @property
    def office(self) -> PostOffice:
        return self._own(
            "office",
            lambda: PostOffice(self.inbox, self.directory, self.settings, blocking=self.blocking, publish=self.publish),
        )

    def task_events(self, worker: str) -> TaskEvents:
        """What tells Flower of the steps that this process takes by itself."""
        return self._own("task_events", lambda: TaskEvents(self.app, worker))

    def carry_on(self, advance: Advance) -> None:
        """Decide and publish what a transition made possible."""
        for found in carry_on(self.store, advance, self.settings):
            dispatch(self.app, found.run_id, found.ready, priority=found.priority)

    def carry(self, posted: Sequence[Posted]) -> None:
        """See to what the handler of a message sent: rings that scripts could not send, agents that live in windows."""
        try:
            self.office.carry(posted)
        except (redis.RedisError, *BROKER_AWAY) as error:
            log.warning("a message is handled, what was sent is left to the keeper: %s", error)
        reach(CrashPoint.NEXT_QUEUED)

    def publish(self, posted: Sequence[Posted]) -> None:
        """Send the rings that the store's scripts could not send."""
        publish(self.app, posted)

    @property
    def directory(self) -> Directory:
        return Directory(self.client, self.keys, lease_ms=self.lease_ms)

    @property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.client)

    @property
    def timers(self) -> Timers:
        return Timers(self.client, self.keys)

    @property
    def registry(self) -> AgentRegistry:
        """The agents of `settings.agents`, loaded once."""
        if self._registry is None:
            self._registry = load_agents(self.settings.agents)
        return self._registry

    @property
    def executor(self) -> Executor:
        return self._own(
            "executor",
            lambda: Executor(
                self.store,
                self.registry,
                self.settings,
                self.office,
                interrupts=(SoftTimeLimitExceeded,),
                leaving=terminate_handler_fired,
                logs=self._handler_logs(),
            ),
        )

    def _handler_logs(self) -> HandlerLogs | None:
        most = self.settings.log_lines
        return HandlerLogs(RunLog(self.client, self.keys), self.registry, most=most) if most else None

    def _own(self, part: str, make: Callable[[], T]) -> T:
        """A part of this process: a forked child makes its own."""
        pid, found = self._made.get(part, (0, None))
        if pid != os.getpid():
            found = make()
            self._made[part] = (os.getpid(), found)
        return cast(T, found)

    def blocking(self) -> redis.Redis:
        """A client for commands that wait on the server."""
        return blocking(self.url, block_s=KEEPER_BLOCK_S)
