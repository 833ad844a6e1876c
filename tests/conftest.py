"""Fixtures on the real embedded server. Nothing here is a fake."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from orchestrator.records import Advance, Order
from orchestrator.store import embedded
from orchestrator.store.connection import connect
from orchestrator.store.keys import Keys
from orchestrator.store.runs import RunStore
from orchestrator.store.timers import Timers
from orchestrator.workflow.plan import Plan
from orchestrator.workflow.segments import dispatch_table

KEYS = Keys("t:")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedServer]:
    home = tmp_path_factory.mktemp("server") / ".orchestrator"
    running = embedded.acquire(home)
    yield running
    running.release()


@pytest.fixture
def client(server: embedded.EmbeddedServer) -> Iterator[redis.Redis]:
    """A clean database; afterwards no key may be left without a TTL unless its life is somebody's business."""
    connection = connect(server.url, deadline_s=5)
    connection.flushall()
    yield connection
    leaks = [key for key in connection.scan_iter("t:*") if connection.ttl(key) < 0 and not _may_stay(connection, key)]
    assert not leaks, f"keys without a TTL: {leaks}"


def _may_stay(connection: redis.Redis, key: str) -> bool:
    if key in KEYS.permanent or key.startswith("t:agent."):  # a queue
        return True
    if key.startswith("t:plan:"):
        return int(connection.hget(key, "live") or 0) > 0
    if key.startswith("t:inbox:"):
        return True  # gone with its last message
    if key.startswith("t:msg:"):
        state = connection.hget(key, "state")
        return state in ("pending", "delivered") or connection.zscore(KEYS.dead, key.removeprefix("t:msg:")) is not None
    run = ":".join(key.split(":")[:3])
    return key.startswith("t:run:") and connection.hget(run, "state") not in ("succeeded", "failed", "cancelled", None)


@pytest.fixture
def store(client: redis.Redis) -> RunStore:
    return RunStore(client, KEYS)


@pytest.fixture
def timers(client: redis.Redis) -> Timers:
    return Timers(client, KEYS)


@pytest.fixture
def create(store: RunStore) -> Callable[..., tuple[str, Advance]]:
    """`create(plan, **options) -> (run_id, advance)`."""
    ids = itertools.count(1)

    def create_run(plan: Plan, **options: object) -> tuple[str, Advance]:
        run_id = f"r{next(ids)}"
        arguments = {"priority": "medium", "retention_ms": 60_000, "inputs": {}, **options}
        _, advance = store.create_run(Order(run_id, plan, dispatch=dispatch_table, **arguments))
        assert advance is not None
        return run_id, advance

    return create_run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A state folder of one test."""
    return tmp_path / ".orchestrator"
