"""A broker of its own that is away or frozen: what is sent is in the store, in time, and the keeper sends it on."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from orchestrator import Client, RunState, Settings
from orchestrator.errors import SettingsInvalid, StoreUnavailable
from orchestrator.runtime.broker import describe, empty_queues
from orchestrator.store import embedded
from orchestrator.store.load import PRIORITIES
from orchestrator.store.routing import MAX_PRIORITY, priority_number

AGENTS = Path(__file__).parents[1] / "acceptance" / "agents.py"
DEADLINE_S = 1.0
REFUSED = "amqp://guest:guest@127.0.0.1:1//"


@pytest.fixture
def frozen() -> Iterator[str]:
    """Somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"amqp://guest:guest@127.0.0.1:{listener.getsockname()[1]}//"


@pytest.fixture(params=["refused", "frozen"])
def away(
    request: pytest.FixtureRequest, server: embedded.EmbeddedServer, client: redis.Redis, frozen: str
) -> Iterator[Client]:
    settings = Settings(
        url=server.url, prefix="t:", broker_url=frozen if request.param == "frozen" else REFUSED,
        agents=(str(AGENTS),), deadline_s=DEADLINE_S,
    )  # fmt: skip
    with Client(settings) as made:
        yield made


def test_a_run_is_accepted_in_time(away: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("name: one\nsteps: [{id: a, agent: hand, task: echo}]\n")
    began_s = time.monotonic()
    with caplog.at_level(logging.WARNING):
        run = away.submit(file)
    assert time.monotonic() - began_s < DEADLINE_S + 5
    assert run.status() is RunState.PENDING
    assert f"the broker does not take steps of run {run.id}, the keeper sends it later" in caplog.text


def test_nobody_can_say_which_queues_are_empty(away: Client) -> None:
    with pytest.raises(Exception, match=r"refused|no answer|timed out"):
        empty_queues(away.app, [("hand", "medium")])
    with pytest.raises(StoreUnavailable, match=r"The broker amqp://guest:\*\*\*@.* does not answer"):
        describe(away.app)


def test_the_words_are_an_order_on_each_broker() -> None:
    numbers = [priority_number(word, "amqp://h") for word in PRIORITIES]
    assert numbers == sorted(numbers, reverse=True), "on RabbitMQ the highest goes first"
    assert max(numbers) <= MAX_PRIORITY
    numbers = [priority_number(word, "redis://h") for word in PRIORITIES]
    assert numbers == sorted(numbers), "on Redis the lowest does"


def test_only_the_broker_can_be_rabbitmq(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_URL", REFUSED)
    with pytest.raises(SettingsInvalid, match=r"ORCHESTRATOR_URL: .*starts with none of"):
        Settings.load()
    monkeypatch.delenv("ORCHESTRATOR_URL")
    monkeypatch.setenv("ORCHESTRATOR_BROKER_URL", "kafka://h")
    with pytest.raises(SettingsInvalid, match=r"ORCHESTRATOR_BROKER_URL: .*starts with none of"):
        Settings.load()
    monkeypatch.delenv("ORCHESTRATOR_BROKER_URL")
    (tmp_path / "celeryconfig.py").write_text(f'broker_url = "{REFUSED}"\n')
    assert (Settings.load().url, Settings.load().broker_url) == (None, REFUSED)
