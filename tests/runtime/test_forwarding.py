"""The message that goes out with a commit is the one that Celery would have sent after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery import signature
from celery.app.task import Context

import orchestrator.runtime.tasks  # noqa: F401 - Celery then knows the task, as in a worker
from orchestrator.runtime.app import App
from orchestrator.runtime.forwarding import next_message
from orchestrator.store.runs import RunStore
from orchestrator.workflow.plan import PlanStep
from tests.factories import plan, task
from tests.runtime.test_canvas import app, messages, send  # noqa: F401 - a fixture

QUEUE = "t:agent.writer\x06\x166"


def request_of(message: dict[str, Any]) -> Context:
    """The request a worker makes of a message."""
    return Context({**message["headers"], **message["embed"], "args": message["args"]})


def comparable(message: dict[str, Any]) -> dict[str, Any]:
    """Without what is new in every message, and with the body read."""
    headers = {name: value for name, value in message["headers"].items() if name != "origin"}
    own = ("delivery_tag", "reply_to")
    properties = {name: value for name, value in message["properties"].items() if name not in own}
    return message | {"headers": headers, "properties": properties, "body": json.loads(message["body"])}


@pytest.mark.parametrize(
    "steps",
    [
        (task("a"), task("b", "a"), task("c", "b")),
        (task("a"), task("b", "a", timeout_ms=1500, task="other")),
        (task("x"), task("a", "x"), task("b", "a"), task("c", "x"), task("j", "b", "c")),
    ],
    ids=["chain", "time limit", "inside a chord"],
)
def test_the_forwarded_message_is_celerys_own(
    app: App, client: redis.Redis, store: RunStore, create: Callable, steps: tuple[PlanStep, ...]  # noqa: F811
) -> None:
    run_id, advance = create(plan(*steps))
    if steps[0].id == "x":
        store.claim_step(run_id, "x", worker="w", lease_ms=10_000)
        advance = store.finish_step(run_id, "x", 1, "1")
    send(app, (run_id, advance))
    first = next(message for message in messages(client) if message["args"][1] == "a")
    request = request_of(first)
    forward = next_message(request)
    assert forward is not None
    assert (forward.step_id, forward.queue) == ("b", QUEUE)
    client.delete(QUEUE)
    *rest, following = request.chain
    signature(following, app=app).apply_async(
        (None,), chain=rest, parent_id=request.id, root_id=request.root_id, priority=6
    )
    celerys = json.loads(client.lindex(QUEUE, 0))
    ours, theirs = comparable(json.loads(forward.message)), comparable(celerys)
    assert {n: (ours["headers"].get(n), v) for n, v in theirs["headers"].items() if ours["headers"].get(n) != v} == {}
    assert ours == theirs


def test_the_end_of_a_chain_forwards_nothing(app: App, client: redis.Redis, create: Callable) -> None:  # noqa: F811
    send(app, create(plan(task("a"))))
    (message,) = messages(client)
    assert next_message(request_of(message)) is None


def test_the_message_goes_out_only_if_its_step_is_ready(
    app: App, client: redis.Redis, store: RunStore, create: Callable  # noqa: F811
) -> None:
    run_id = send(app, create(plan(task("a"), task("b", "a"))))
    (message,) = messages(client)
    forward = next_message(request_of(message))
    client.delete(QUEUE, f"{QUEUE[:-1]}wake")
    assert store.finish_step(run_id, "a", 1, "1", forward) is None, "nobody claimed it"
    assert client.llen(QUEUE) == 0
    store.claim_step(run_id, "a", worker="w", lease_ms=10_000)
    done = store.finish_step(run_id, "a", 1, "1", forward)
    assert done is not None
    assert (done.forwarded, done.ready) == ("b", ())
    assert client.llen(QUEUE) == 1
    assert client.llen("t:agent.writer\x06\x16wake") == 1
    again = store.finish_step(run_id, "a", 1, "1", forward)
    assert (again.forwarded, again.ready) == (None, ())
    assert client.llen(QUEUE) == 1
