"""What several tests of the store need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from orchestrator.agents.post import PostOffice
from orchestrator.runtime.doorbells import doorbell
from orchestrator.settings import Settings
from orchestrator.store.connection import blocking
from orchestrator.store.directory import Directory
from orchestrator.store.inbox import Inbox
from orchestrator.workflow.catalog import AgentInfo, TaskInfo
from tests.conftest import KEYS
from tests.store.auditing import told

WRITER = AgentInfo("writer", ("writing",), (TaskInfo("draft", {"topic": True}),), hears=True)


@pytest.fixture
def office(client: redis.Redis, server: Any) -> PostOffice:
    settings = Settings(message_retention_s=60, lease_s=1)
    inbox = Inbox(client, KEYS, settings, doorbell)
    directory = Directory(client, KEYS, lease_ms=1000)
    directory.register("ada", ["reviewing"])
    directory.heartbeat("w1", [WRITER])
    wait = lambda: blocking(server.url, block_s=0.5)  # noqa: E731
    return PostOffice(inbox, directory, settings, blocking=wait, publish=lambda posted: None)


@pytest.fixture
def damaged(client: redis.Redis) -> Iterator[Callable[..., list[str]]]:
    """Sees that all is well, does the damage, and returns what the audit tells."""

    def inflict(*command: object) -> list[str]:
        assert told(client) == []
        assert client.execute_command(*command), "there was nothing to damage"
        return told(client)

    yield inflict
    client.flushall()
