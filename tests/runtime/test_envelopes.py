"""The message that a script sends for a step is the one that Celery sends for its signature."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery.app.task import Context

import orchestrator.runtime.tasks  # noqa: F401 - Celery then knows the task, as in a worker
from orchestrator.records import Order, Taker
from orchestrator.runtime.app import App
from orchestrator.store.runs import RunStore
from orchestrator.workflow.plan import PlanStep
from orchestrator.workflow.segments import dispatch_table
from tests.conftest import KEYS
from tests.factories import plan, task
from tests.runtime.test_canvas import app, messages, send  # noqa: F401 - a fixture

QUEUE = "t:agent.writer\x06\x166"
#: What Celery sends besides, and a worker of it does without.
UNSENT = {"eta", "expires", "retries", "origin", "replaced_task_nesting", "stamped_headers", "stamps", "group_index"}
TAKER = Taker("w", 7, 10_000, ("writer",))


@pytest.fixture
def direct(client: redis.Redis) -> RunStore:
    """The store of a server that is the broker as well."""
    return RunStore(client, KEYS, one_server=True)


def start(direct: RunStore, *steps: PlanStep, **options: Any) -> str:
    """Create a run of these steps; returns its id."""
    arguments = {"priority": "medium", "retention_ms": 60_000, "inputs": {}, **options}
    order = Order("run7", plan(*steps), dispatch=dispatch_table, **arguments)
    run_id, advance = direct.create_run(order)
    assert advance is not None
    assert advance.ready == ()
    return run_id


def comparable(message: dict[str, Any], run_id: str) -> dict[str, Any]:
    """The parts of a message that are the same for the same step of any run."""
    text = json.dumps({name: message[name] for name in ("headers", "body", "properties")})
    known = json.loads(text.replace(run_id, "RUN"))
    body = json.loads(known["body"])
    for signature in [*(body[2]["chain"] or []), body[2]["chord"] or {}]:
        own = signature.get("options", {})
        for options in (own, (own.get("chord") or {}).get("options", {})):
            for name in ("reply_to", "group_id", "group_index", "root_id", "parent_id"):
                options.pop(name, None)
            if options.get("chord", "") is None:
                del options["chord"]
        signature.pop("chord_size", None)
    known["headers"]["group"] = known["headers"]["group"] is not None
    properties = {name: known["properties"][name] for name in ("delivery_info", "priority")}
    return {"headers": known["headers"], "body": body, "properties": properties}


@pytest.mark.parametrize(
    "steps",
    [
        (task("a"), task("b", "a"), task("c", "b")),
        (task("a", timeout_ms=1500, task="per%cent"), task("b", "a", timeout_ms=1500, priority="urgent")),
    ],
    ids=["chain", "limits of time, a priority"],
)
def test_the_message_of_a_script_is_celerys_own(
    app: App, client: redis.Redis, direct: RunStore, create: Callable, steps: tuple[PlanStep, ...]  # noqa: F811
) -> None:
    run_id = start(direct, *steps)
    ours = comparable(json.loads(client.rpop(QUEUE)), run_id)
    other_id = send(app, create(plan(*steps)))
    theirs = comparable(json.loads(client.rpop(QUEUE)), other_id)
    assert {name for name in theirs["headers"] if name not in ours["headers"]} <= UNSENT
    theirs["headers"] = {name: value for name, value in theirs["headers"].items() if name in ours["headers"]}
    assert ours == theirs


def test_a_step_carries_the_body_of_its_chord(direct: RunStore, client: redis.Redis) -> None:
    start(direct, task("a"), task("b"), task("c", "b"), task("j", "a", "c"))
    first, second = (json.loads(text) for text in reversed(client.lrange(QUEUE, 0, -1)))
    embeds = [json.loads(message["body"])[2] for message in (first, second)]
    assert embeds[0]["chord"]["args"] == ["run7", "j"]
    assert embeds[1]["chord"] is None
    assert embeds[1]["chain"][0]["options"]["chord"]["args"] == ["run7", "j"]
    assert first["headers"]["group"] == second["headers"]["group"] == "run7:fan-j"


def test_a_message_knows_the_task_before_it_and_the_first_of_its_run(direct: RunStore, client: redis.Redis) -> None:
    run_id = start(direct, task("a"), task("b", "a"), task("c", "b"))
    seen = []
    for step_id in "abc":
        headers = json.loads(client.rpop(QUEUE))["headers"]
        context = Context(headers)
        seen.append((context.id, context.parent_id, context.root_id))
        claim = direct.claim_step(run_id, step_id, worker="w", lease_ms=10_000)
        assert claim is not None
        direct.finish_step(run_id, step_id, claim.attempt, "1")
    assert seen == [("run7:a", None, "run7:a"), ("run7:b", "run7:a", "run7:a"), ("run7:c", "run7:b", "run7:a")]


def test_a_message_wakes_one_consumer_and_is_sent_once(direct: RunStore, client: redis.Redis) -> None:
    run_id = start(direct, task("a"), task("b", "a"))
    client.delete(QUEUE, "t:agent.writer\x06\x16wake")
    assert direct.finish_step(run_id, "a", 1, "1") is None, "nobody claimed it"
    assert client.llen(QUEUE) == 0
    direct.claim_step(run_id, "a", worker="w", lease_ms=10_000)
    assert direct.finish_step(run_id, "a", 1, "1") is not None
    assert direct.finish_step(run_id, "a", 1, "1") is not None, "told again, because no answer came"
    assert client.llen(QUEUE) == client.llen("t:agent.writer\x06\x16wake") == 1


# --- what a process takes by itself ------------------------------------------------------------------------------


def test_a_process_goes_on_with_the_next_step(direct: RunStore, client: redis.Redis) -> None:
    run_id = start(direct, task("a"), task("b", "a"))
    claim = direct.take_step(TAKER)
    assert claim is not None
    assert (claim.run_id, claim.step_id, claim.attempt) == (run_id, "a", 1)
    done = direct.finish_step(run_id, "a", 1, "1", taker=TAKER)
    assert done is not None
    assert done.claim is not None
    assert (done.claim.step_id, done.claim.parent, done.claim.root) == ("b", "a", "a")
    assert client.llen(QUEUE) == 0, "nothing was sent for it"
    assert direct.load_held("w", lease_ms=10_000) == {7: (run_id, "b")}
    last = direct.finish_step(run_id, "b", 1, "1", taker=TAKER)
    assert last is not None
    assert last.claim is None
    assert direct.load_held("w", lease_ms=10_000) == {}
    assert direct.read_run(run_id).state == "succeeded"


def test_what_is_more_urgent_goes_first(direct: RunStore, client: redis.Redis) -> None:
    start(direct, task("a"), task("b", "a"))
    assert direct.take_step(TAKER) is not None
    direct.create_run(
        Order("urgent", plan(task("x")), {}, dispatch=dispatch_table, priority="urgent", retention_ms=60_000)
    )
    done = direct.finish_step("run7", "a", 1, "1", taker=TAKER)
    assert done is not None
    assert done.claim is not None
    assert (done.claim.run_id, done.claim.parent, done.claim.root) == ("urgent", None, "x")
    after = direct.finish_step("urgent", "x", 1, "1", taker=TAKER)
    assert after is not None
    assert after.claim is not None
    assert after.claim.step_id == "b"


@pytest.mark.parametrize("text", ["message", "a step with a limit of time"])
def test_what_needs_the_consumer_is_left_to_it(direct: RunStore, client: redis.Redis, text: str) -> None:
    if text == "message":
        client.lpush(QUEUE, '{"headers":{"lang":"py","task":"orchestrator.ring","id":"message:1"}}')
    else:
        start(direct, task("a", timeout_ms=1000))
    assert direct.take_step(TAKER) is None
    assert client.llen(QUEUE) == client.llen("t:agent.writer\x06\x16wake") == 1


def test_messages_that_lead_to_nothing_are_passed_over(direct: RunStore, client: redis.Redis) -> None:
    run_id = start(direct, task("a"))
    (text,) = client.lrange(QUEUE, 0, -1)
    client.rpush(QUEUE, text.replace("run7:a", "gone:a"), text.replace("run7:a", "run7:never"))
    claim = direct.take_step(TAKER)
    assert claim is not None
    assert claim.step_id == "a"
    client.lpush(QUEUE, text)
    assert direct.take_step(TAKER) is None, "it is taken"
    assert client.exists(QUEUE, "t:agent.writer\x06\x16wake") == 0
    direct.finish_step(run_id, "a", 1, "1")


@pytest.mark.parametrize("told_again", [False, True])
def test_a_next_step_whose_answer_was_lost_is_had_again(direct: RunStore, told_again: bool) -> None:
    run_id = start(direct, task("a"), task("b", "a"))
    direct.take_step(TAKER)
    direct.finish_step(run_id, "a", 1, "1", taker=TAKER)
    again = direct.finish_step(run_id, "a", 1, "1", taker=TAKER, again=told_again)
    assert again is not None
    assert (again.claim and again.claim.step_id) == ("b" if told_again else None)
    assert (direct.take_step(TAKER, again=told_again) is not None) == told_again


def test_a_process_that_must_stop_is_known_by_what_it_holds(direct: RunStore) -> None:
    run_id = start(direct, task("a"))
    direct.take_step(TAKER)
    direct.cancel_run(run_id)
    assert direct.load_held("w", lease_ms=10_000) == {7: (run_id, "a")}
    assert direct.extend_lease(run_id, "a", worker="w", lease_ms=10_000, pid=7) == -1
