"""Lists of runs and of agents: how many round trips they take, however many there are. Counted, not timed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.client import Pipeline

from orchestrator.agents.post import PostOffice
from orchestrator.records import Advance, StepError
from orchestrator.states import RunState
from orchestrator.store import listing, load
from orchestrator.store.direct import DirectFunction
from orchestrator.store.directory import Directory
from orchestrator.store.runs import RunStore
from orchestrator.workflow.catalog import AgentInfo
from tests.conftest import KEYS
from tests.factories import plan, task
from tests.waiting import wait_until

Create = Callable[..., tuple[str, Advance]]


class RoundTrips:
    """What one client waits for: answers of scripts, and of commands that redis-py sends together.

    Only in the thread of the test: one that another test has left asks things, too.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._thread = threading.get_ident()
        scripts = ((DirectFunction, "__call__"), (DirectFunction, "many"))
        for owner, name in (*scripts, (Pipeline, "execute"), (redis.Redis, "execute_command")):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.count += threading.get_ident() == self._thread
            return call(*args, **options)

        return counted

    def of(self, call: Callable[[], Any]) -> int:
        self.count = 0
        call()
        return self.count


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], int]:
    """`round_trips(call)` -> how many it takes."""
    return RoundTrips(monkeypatch).of


@pytest.fixture
def directory(client: redis.Redis) -> Directory:
    return Directory(client, KEYS, lease_ms=10_000)


def test_runs_are_listed_a_page_at_a_time(
    store: RunStore, create: Create, monkeypatch: pytest.MonkeyPatch, round_trips: Callable
) -> None:
    monkeypatch.setattr(listing, "PAGE", 10)
    ids = {create(plan(task("a")))[0] for _ in range(25)}
    found = store.list_runs(limit=100)
    assert len(found) == 25
    assert {run.id for run in found} == ids
    assert [run.created_at for run in found] == sorted((run.created_at for run in found), reverse=True)
    assert round_trips(lambda: store.list_runs(limit=100)) == 3
    assert round_trips(lambda: store.list_runs(limit=7)) == 1
    assert store.list_runs(limit=7) == found[:7]


def test_the_server_looks_for_what_is_asked(
    store: RunStore, create: Create, monkeypatch: pytest.MonkeyPatch, round_trips: Callable
) -> None:
    monkeypatch.setattr(listing, "PAGE", 10)
    ids = [create(plan(task("a"), name="other" if number % 10 else "rare"))[0] for number in range(30)]
    store.cancel_run(ids[0])
    assert {run.id for run in store.list_runs(workflow="rare")} == {ids[0], ids[10], ids[20]}
    assert [run.id for run in store.list_runs(state=RunState.CANCELLED)] == [ids[0]]
    assert store.list_runs(state=RunState.CANCELLED, workflow="other") == []
    assert {run.id for run in store.list_runs(state=RunState.PENDING, workflow="rare")} == {ids[10], ids[20]}
    assert round_trips(lambda: store.list_runs(workflow="rare")) == 4, "three pages, and one behind the last full one"


def test_runs_past_their_retention_leave_the_list(
    store: RunStore, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 4)
    ids = [create(plan(task("a")))[0] for _ in range(10)]
    store.client.delete(*(KEYS.run(ids[number]) for number in (9, 6, 3, 0)))
    assert {run.id for run in store.list_runs()} == {ids[number] for number in (1, 2, 4, 5, 7, 8)}
    assert store.client.zcard(KEYS.runs) == 6
    store.client.flushall()  # with what was left of those runs


def test_a_list_tells_how_a_run_failed_and_leaves_the_outputs_out(store: RunStore, create: Create) -> None:
    failed, done = (create(plan(task("a")))[0] for _ in range(2))
    for run_id in (failed, done):
        store.claim_step(run_id, "a", worker="w", lease_ms=60_000)
    store.fail_step(failed, "a", 1, StepError("ValueError", "no luck", "a", 1), retry_delay_ms=None)
    store.finish_step(done, "a", 1, '"x"')
    listed = {run.id: run for run in store.list_runs()}
    assert listed[failed].error == StepError("ValueError", "no luck", "a", 1)
    store.client.hset(KEYS.run(done), "outputs", '{"x": 1}')
    assert store.read_run(done).outputs == {"x": 1}
    assert store.list_runs(state=RunState.SUCCEEDED)[0].outputs is None


def test_agents_are_listed_a_hundred_at_a_time(directory: Directory, round_trips: Callable) -> None:
    directory.heartbeat("w@h", [AgentInfo(f"a{number}", ("odd",) if number % 2 else ()) for number in range(250)])
    found = directory.overview()
    assert len(found) == 250
    assert found[0] == {
        "name": "a0", "capabilities": [], "presence": "online", "activity": "idle",
        "queue": dict.fromkeys(load.PRIORITIES, 0), "running": 0, "workers": ["w@h"],
    }  # fmt: skip
    assert len(directory.overview("odd")) == 125
    assert round_trips(directory.overview) == 3, "who is online, who is registered, three times a hundred at once"
    assert round_trips(directory.loads) == 2


def test_a_heartbeat_costs_the_same_among_a_thousand_agents(directory: Directory, client: redis.Redis) -> None:
    mine = [AgentInfo("mine")]

    def commands() -> int:
        client.config_resetstat()
        directory.heartbeat("w@h", mine)
        return sum(row["calls"] for name, row in client.info("commandstats").items() if name != "cmdstat_info")

    alone = commands()
    directory.heartbeat("w2@h", [AgentInfo(f"a{number}") for number in range(1000)])
    assert commands() == alone


def test_a_load_tells_what_waits_and_since_when(office: PostOffice, store: RunStore, create: Create) -> None:
    for _ in range(2):
        create(plan(task("a")), priority="high")
    create(plan(task("b", agent="nobody")))
    office.send("writer", "hello", sender="operator", priority="high")
    office.handoff("writer", "draft", {"topic": "x"}, sender="operator", priority="low")
    run_id, _ = create(plan(task("c")))
    store.claim_step(run_id, "c", worker="w1", lease_ms=60_000)
    loads = {found.name: found for found in office.directory.loads()}
    writer, nobody = loads["writer"], loads["nobody"]
    assert (writer.running, writer.workers) == (1, ("w1",))
    assert {name: (found.steps, found.messages, found.handoffs) for name, found in writer.waiting.items()} == {
        "emergency": (0, 0, 0), "urgent": (0, 0, 0), "high": (2, 1, 0), "medium": (0, 0, 0), "low": (0, 0, 1),
    }  # fmt: skip
    assert (nobody.waits, nobody.workers, nobody.running) == (1, (), 0), "a queue that no worker has ever served"
    assert writer.waits == 4
    first_ms = writer.waiting["high"].oldest_ms
    wait_until(
        lambda: next(found for found in office.directory.loads() if found.name == "writer").waiting["high"].oldest_ms
        > first_ms,
        what="the oldest to age",
        timeout_s=5,
    )
    assert writer.waiting["medium"].oldest_ms == 0


def test_what_a_dead_worker_held_is_not_running(directory: Directory, client: redis.Redis, create: Create) -> None:
    create(plan(task("a")))
    client.hset(KEYS.queues, "running writer", 3)
    assert [(found.name, found.running) for found in directory.loads()] == [("writer", 0)]
