"""`Engine`: what one process needs to carry runs on: settings, store, agents, executor. Built when first used.

A forked child builds its own connections; the agents, loaded before the fork, are shared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import redis
from celery.exceptions import SoftTimeLimitExceeded

from orchestrator.agents.executor import Executor
from orchestrator.agents.loading import AgentRegistry, load_agents
from orchestrator.settings import Settings
from orchestrator.store.connection import blocking, connect
from orchestrator.store.directory import Directory
from orchestrator.store.keys import Keys
from orchestrator.store.runs import RunStore
from orchestrator.store.timers import Timers

KEEPER_BLOCK_S = 1.0


@dataclass
class Engine:
    """The parts of one process.

    Args:
        url: the server that keeps the state.
    """

    settings: Settings
    url: str
    _registry: AgentRegistry | None = field(default=None, repr=False)
    _store: tuple[int, RunStore] | None = field(default=None, repr=False)

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
        if self._store is None or self._store[0] != os.getpid():
            self._store = (os.getpid(), RunStore(self.client, self.keys))
        return self._store[1]

    @property
    def directory(self) -> Directory:
        return Directory(self.client, self.keys, lease_ms=self.lease_ms)

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
        return Executor(self.store, self.registry, self.settings, interrupts=(SoftTimeLimitExceeded,))

    def blocking(self) -> redis.Redis:
        """A client for commands that wait on the server."""
        return blocking(self.url, block_s=KEEPER_BLOCK_S)
