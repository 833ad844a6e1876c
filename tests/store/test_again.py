"""What is told the server twice because its answer was lost, and what a newer version leaves alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from orchestrator.errors import OutcomeUnknown, QueueFull, StoreUnavailable
from orchestrator.records import StepError
from orchestrator.states import StepState
from orchestrator.store import posting as posting_module
from orchestrator.store import runs as runs_module
from orchestrator.store.connection import guard
from orchestrator.store.direct import DirectFunction, ReplyLost
from orchestrator.store.patience import insist, within
from orchestrator.store.runs import RunStore
from orchestrator.store.timers import Timers
from tests.factories import plan, task
from tests.store.test_messages import end, send, take  # noqa: F401
from tests.waiting import wait_until

URL = "redis://:secret@host:1/0"
ERROR = StepError("ValueError", "no luck", "a", 1)


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """While the list holds something, an answer of a script is lost, and the list with it."""
    losses: list[str] = []
    ask = DirectFunction._ask

    def lossy(*args: Any) -> Any:
        answer = ask(*args)
        if losses:
            losses.pop()
            raise ReplyLost("gone")
        return answer

    monkeypatch.setattr(DirectFunction, "_ask", staticmethod(lossy))
    return losses


def claim(store: RunStore, run_id: str, again: bool = False, pid: int = 7):
    return store.claim_step(run_id, "a", worker="w", lease_ms=1000, pid=pid, again=again)


def test_a_claim_whose_answer_was_lost_is_had_again(store: RunStore, create: Callable, deaf: list) -> None:
    run_id, _ = create(plan(task("a")))
    deaf.append("once")
    found = insist(lambda again: claim(store, run_id, again), for_s=5)
    assert found is not None
    assert found.attempt == 1
    assert claim(store, run_id, again=True, pid=8) is None, "another process of the worker"
    assert claim(store, run_id) is None, "a doubled message"


def test_an_answer_that_was_taken_is_taken_again(store: RunStore, create: Callable, deaf: list) -> None:
    run_id, _ = create(plan(task("a"), task("b", "a")))
    claim(store, run_id)
    deaf.append("once")
    assert insist(lambda _: store.finish_step(run_id, "a", 1, "1"), for_s=5) is not None
    record = store.read_steps(run_id)["a"]
    assert (record.state, record.late) == (StepState.SUCCEEDED, ())


def test_a_failure_that_was_taken_is_not_noted_as_late(store: RunStore, create: Callable, deaf: list) -> None:
    run_id, _ = create(plan(task("a")))
    claim(store, run_id)
    deaf.append("once")
    insist(lambda _: store.fail_step(run_id, "a", 1, ERROR, retry_delay_ms=60_000), for_s=5)
    record = store.read_steps(run_id)["a"]
    assert (record.state, record.late) == (StepState.WAITING, ())


def test_a_message_whose_answer_was_lost_is_stored_once(office: Any, send: Any, deaf: list) -> None:  # noqa: F811
    deaf.append("once")
    receipt = send()
    assert [record.message.message_id for record in office.inbox.peek(["ada"])] == [receipt.message_id]


def test_a_message_that_was_closed_is_closed_again(office: Any, send: Any, deaf: list) -> None:  # noqa: F811
    receipt = send()
    delivery = take(office)
    deaf.append("once")
    insist(lambda _: end(office, delivery, attempt=1), for_s=5)
    record = office.inbox.read(receipt.message_id)
    assert record.state == "acknowledged"
    assert record.attempts[0].superseded is None


def test_without_an_answer_in_time_the_outcome_is_unknown(deaf: list, store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    deaf += ["always"] * 100
    with pytest.raises(OutcomeUnknown, match=r"redis://\*\*\*@host:1/0 did not answer in time") as caught, guard(URL):
        insist(lambda again: claim(store, run_id, again), for_s=0.3)
    assert isinstance(caught.value, StoreUnavailable)


def test_what_was_not_sent_is_told_at_once_or_tried_again() -> None:
    calls = []

    def refused(again: bool) -> str:
        calls.append(again)
        if len(calls) < 3:
            raise redis.ConnectionError("refused")
        return "in"

    with pytest.raises(redis.ConnectionError):
        insist(refused, for_s=5, unsent=False)
    assert insist(refused, for_s=5) == "in"
    assert calls == [False, False, False]


@pytest.mark.parametrize("code", ["READONLY", "NOREPLICAS not enough"])
def test_a_server_that_takes_no_changes_is_unavailable(code: str) -> None:
    with pytest.raises(StoreUnavailable, match="takes no changes") as caught, guard(URL):
        raise redis.ResponseError(code)
    assert not isinstance(caught.value, OutcomeUnknown)


def test_several_commands_share_one_deadline(client: redis.Redis) -> None:
    def wait_often() -> None:
        with within(0.5):
            for _ in range(10):
                client.execute_command("BLPOP", "nothing", 0.2)

    began_s = time.monotonic()
    with pytest.raises(redis.TimeoutError):
        wait_often()
    assert time.monotonic() - began_s < 1.5


# --- room -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def crowded(client: redis.Redis) -> Iterator[None]:
    """A server whose memory is used up to 90 %, and whose last look at it is outdated (_room.lua: LOOK_MS)."""
    client.config_set("maxmemory", int(int(client.info("memory")["used_memory"]) / 0.9))
    full_s = time.monotonic()
    wait_until(lambda: time.monotonic() > full_s + 0.02, what="the end of LOOK_MS", timeout_s=1)
    yield
    client.config_set("maxmemory", 0)


def test_new_work_is_refused_and_old_work_ends(
    store: RunStore, create: Callable, office: Any, send: Any, client: redis.Redis, request: Any  # noqa: F811
) -> None:
    run_id, _ = create(plan(task("a"), task("b", "a")))
    send()
    request.getfixturevalue("crowded")
    with pytest.raises(QueueFull, match=r"no room for new runs: .* MB are used"):
        create(plan(task("a")))
    with pytest.raises(QueueFull, match="no room for new messages"):
        send()
    client.config_set("maxmemory", 1)  # far beyond the limit
    assert claim(store, run_id) is not None
    assert store.finish_step(run_id, "a", 1, json.dumps("x" * 10_000)) is not None
    delivery = take(office)
    end(office, delivery)
    assert Timers(client, store.keys).lead("w", alone_ms=1000, shared_ms=1000).mine
    with pytest.raises(QueueFull), guard(URL):
        create(plan(task("a")))


# --- versions -------------------------------------------------------------------------------------------------------


def test_a_step_of_a_newer_schema_waits_for_a_newer_worker(
    store: RunStore, create: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(runs_module, "SCHEMA", 2)
        run_id, _ = create(plan(task("a")))
        asking, _ = create(plan(task("a", when="${{ true }}")))
    store.pause_run(asking, pause=True)
    asked, _ = store.pause_run(asking, pause=False)
    assert (asked.decide, asked.question) == (("a",), None), "nor is it decided by an older one"
    assert claim(store, run_id) is None
    record = store.read_steps(run_id)["a"]
    assert (record.state, record.reason) == (StepState.WAITING, "waits for a worker of a newer version")
    assert store.load_decision(run_id, "a") is None
    store.client.hset(store.keys.steps(run_id), "a", json.dumps({"state": "pending", "queue": "x medium", "seq": "1"}))
    store.client.hset(store.keys.queues, "mark x medium", "0")
    monkeypatch.setattr(runs_module, "SCHEMA", 2)
    assert claim(store, run_id) is not None


def test_a_message_of_a_newer_schema_waits_for_a_newer_receiver(
    office: Any, send: Any, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(posting_module, "SCHEMA", 2)
        receipt = send()
    assert take(office) is None
    record = office.inbox.read(receipt.message_id)
    assert (record.state, record.reason) == ("pending", "waits for a worker of a newer version")
    assert record.due_at is not None
