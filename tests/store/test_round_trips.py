"""How often a client, and a worker that handles a message, ask the server: what is counted here must not grow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator import Client, Settings
from orchestrator.agents.executor import Executor
from orchestrator.metrics.gathering import gather
from orchestrator.store import embedded
from orchestrator.store.connection import SocketConnection
from orchestrator.store.directory import Directory
from tests.conftest import KEYS

AGENTS = """
from orchestrator import Agent
writer = Agent("writer")
@writer.task
def draft(): ...
@writer.on_message
def hear(message): ...
"""
STEPS = "".join(f"\n  - {{id: s{at}, agent: writer, task: draft}}" for at in range(5))


class Trips:
    """Counts what is sent to the server: one packet, however many commands are in it."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, call: Callable[[], Any]) -> int:
        """How often `call` sends something, once everything that is looked up only once is known."""
        call()
        before = self.count
        call()
        return self.count - before


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> Trips:
    counted, send = Trips(), SocketConnection.send_packed_command

    def count(self: SocketConnection, *args: Any, **kwargs: Any) -> None:
        counted.count += 1
        send(self, *args, **kwargs)

    monkeypatch.setattr(SocketConnection, "send_packed_command", count)
    return counted


@pytest.fixture
def agents(tmp_path: Path) -> str:
    path = tmp_path / "round_trip_agents.py"
    path.write_text(AGENTS)
    return str(path)


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    path = tmp_path / "flow.yaml"
    path.write_text(f"name: flow\nsteps:{STEPS}")
    return path


@pytest.fixture
def near(client: redis.Redis, server: embedded.EmbeddedServer, agents: str) -> Client:
    """A client that has loaded the agents, which a worker serves."""
    found = Client(Settings(url=server.url, prefix=KEYS.prefix), agents=[agents])
    Directory(client, KEYS, lease_ms=60_000).heartbeat("w1", found.registry.catalog().agents)
    return found


@pytest.fixture
def far(near: Client) -> Client:
    """A client that has loaded none, so that the server has to say what there is."""
    return Client(near.settings, agents=[])


def test_submitting_a_plan_is_one_round_trip(near: Client, flow: Path, trips: Trips) -> None:
    plan = near.compile(flow)
    assert trips.of(lambda: near.submit(plan)) == 1


def test_submitting_many_is_one_round_trip_for_a_hundred(near: Client, flow: Path, trips: Trips) -> None:
    plan = near.compile(flow)
    assert trips.of(lambda: near.submit_many(plan, [{}] * 250)) == 3


def test_submitting_a_file_of_loaded_agents_is_one_round_trip(near: Client, flow: Path, trips: Trips) -> None:
    assert trips.of(lambda: near.submit(flow)) == 1


def test_submitting_a_file_of_agents_that_are_online_is_three(far: Client, flow: Path, trips: Trips) -> None:
    assert trips.of(lambda: far.submit(flow)) == 3


def test_a_first_run_of_a_definition_is_three_round_trips(
    near: Client, client: redis.Redis, flow: Path, trips: Trips
) -> None:
    plan = near.compile(flow)

    def submit_anew() -> None:
        client.unlink(KEYS.plan(plan.hash))
        near.submit(plan)

    assert trips.of(submit_anew) == 1 + 3


def test_sending_a_message_is_one_round_trip(near: Client, trips: Trips) -> None:
    assert trips.of(lambda: near.send("writer", "hi")) == 1


def test_sending_to_several_agents_is_one_round_trip(near: Client, trips: Trips) -> None:
    near.office.directory.register("ada")
    assert trips.of(lambda: near.broadcast("hi", to=["writer", "ada"])) == 1


def test_a_scrape_is_two_round_trips_however_many_agents(near: Client, flow: Path, trips: Trips) -> None:
    for number in range(250):
        near.office.directory.register(f"a{number}")
    near.submit(flow)
    assert trips.of(lambda: gather(near)) == 2


def test_handling_a_message_is_two_round_trips(near: Client, client: redis.Redis, trips: Trips) -> None:
    executor = Executor(near.store, near.registry, near.settings, near.office)

    def ring() -> str:
        return str(client.zrange(KEYS.rings, 0, 0)[0])

    def handle() -> None:
        posted = executor.run_message("writer", worker="w1", ring=ring())
        near.office.carry(posted)

    for _ in range(2):
        near.send("writer", "hi")
    assert trips.of(handle) == 1 + 2  # one is the test's own
    assert client.zcard(KEYS.rings) == 0
