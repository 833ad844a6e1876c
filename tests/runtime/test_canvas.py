"""What is really on the queue: chains, chords and single messages of ids."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from orchestrator.records import Advance
from orchestrator.runtime.app import App, make_app
from orchestrator.runtime.canvas import dispatch
from orchestrator.settings import Settings
from orchestrator.store import embedded
from orchestrator.store.runs import RunStore
from tests.factories import plan, task


@pytest.fixture
def app(server: embedded.EmbeddedServer) -> Iterator[App]:
    made = make_app(Settings(url=server.url, prefix="t:"))
    yield made
    made.close()


def messages(client: redis.Redis, agent: str = "writer", number: int = 6) -> list[dict[str, Any]]:
    """The messages of one queue and priority, oldest first, with their bodies decoded."""
    key = f"t:agent.{agent}\x06\x16{number}" if number else f"t:agent.{agent}"
    found = [json.loads(text) for text in reversed(client.lrange(key, 0, -1))]
    for message in found:
        body = message["body"]
        if message["properties"].get("body_encoding") == "base64":
            body = base64.b64decode(body)
        message["args"], message["kwargs"], message["embed"] = json.loads(body)
    return found


def send(app: App, run: tuple[str, Advance]) -> str:
    run_id, advance = run
    dispatch(app, run_id, advance.ready, priority=advance.priority)
    return run_id


def test_a_sequence_is_sent_as_a_chain_of_ids(app: App, client: redis.Redis, create: Callable) -> None:
    steps = [task("a"), *(task(name, needs) for needs, name in zip("abcde", "bcdef", strict=True))]
    run_id = send(app, create(plan(*steps)))
    (message,) = messages(client)
    assert message["headers"]["task"] == "orchestrator.run_step"
    assert (message["args"], message["kwargs"]) == ([run_id, "a"], {})
    chain = list(reversed(message["embed"]["chain"]))
    assert [sig["args"] for sig in chain] == [[run_id, "b"], [run_id, "c"], [run_id, "d"]], "a window of four"
    for sig in chain:
        assert sig["immutable"]
        assert sig["options"]["queue"] == "t:agent.writer"
        assert sig["options"]["priority"] == 6
        assert sig["options"]["task_id"] == f"{run_id}:{sig['args'][1]}"
        assert sig["options"]["shadow"] == "writer.draft"


def test_a_fan_is_sent_as_one_chord_with_its_join_as_body(
    app: App, client: redis.Redis, create: Callable, store: RunStore
) -> None:
    steps = task("a"), task("b", "a"), task("c", "a"), task("c2", "c"), task("join", "b", "c2")
    run_id, _ = create(plan(*steps))
    store.claim_step(run_id, "a", worker="w", lease_ms=10_000)
    advance = store.finish_step(run_id, "a", 1, "1")
    assert advance is not None
    send(app, (run_id, advance))
    first, second = messages(client)
    for message in (first, second):
        tail = message["embed"]["chain"][0] if message["embed"]["chain"] else None
        chord = (tail or {"options": message["embed"]})["options"]["chord"]
        assert chord["args"] == [run_id, "join"]
        assert chord["options"]["queue"] == "t:agent.writer"
    tail = second["embed"]["chain"][0]
    assert first["headers"]["group"] == tail["options"]["group_id"], "both belong to one group"
    assert [sig["args"][1] for sig in second["embed"]["chain"]] == ["c2"]


def test_a_fan_wider_than_the_limit_is_sent_without_a_chord(app: App, client: redis.Redis, create: Callable) -> None:
    heads = [task(f"h{i}") for i in range(101)]
    send(app, create(plan(*heads, task("join", *(head.id for head in heads)))))
    found = messages(client)
    assert len(found) == 101
    assert {message["embed"]["chord"] for message in found} == {None}


@pytest.mark.parametrize(
    ("word", "number"), [("emergency", 0), ("urgent", 2), ("high", 4), ("medium", 6), ("low", 8)]
)
def test_each_priority_has_its_own_list(
    app: App, client: redis.Redis, create: Callable, word: str, number: int
) -> None:
    send(app, create(plan(task("a"), task("b", "a")), priority=word))
    (message,) = messages(client, number=number)
    assert message["properties"]["priority"] == number
    assert message["embed"]["chain"][0]["options"]["priority"] == number


def test_a_step_may_have_a_priority_and_a_time_limit_of_its_own(
    app: App, client: redis.Redis, create: Callable
) -> None:
    send(app, create(plan(task("a", priority="urgent", timeout_ms=1500)), priority="low"))
    (message,) = messages(client, number=2)
    assert message["headers"]["timelimit"] == [6.5, 1.5]


def test_the_bytes_of_a_message_do_not_grow_with_the_workflow(
    app: App, client: redis.Redis, create: Callable
) -> None:
    sizes = []
    for length in (10, 1000):
        client.delete("t:agent.writer\x06\x166")
        names = [f"s{i:04}" for i in range(length)]
        send(app, create(plan(task(names[0]), *(task(b, a) for a, b in itertools.pairwise(names)))))
        sizes.append(len(client.lindex("t:agent.writer\x06\x166", 0)))
    assert sizes[0] == sizes[1] < 4096
