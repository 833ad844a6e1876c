"""claim_step, finish_step, fail_step, retry_step: one attempt and its fences."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.errors import RunNotFound
from orchestrator.records import StepError
from orchestrator.states import RunState, StepState
from orchestrator.store.runs import RunStore
from orchestrator.store.timers import Timers
from tests.factories import plan, task

LEASE = 10_000
ERROR = StepError("ValueError", "no luck", "a", 1)


def claim(store: RunStore, run_id: str, step_id: str, worker: str = "w1"):
    return store.claim_step(run_id, step_id, worker=worker, lease_ms=LEASE)


def test_a_step_is_claimed_once(store: RunStore, create: Callable) -> None:
    run_id, advance = create(plan(task("a")))
    assert [step.step_id for step in advance.ready] == ["a"]
    first = claim(store, run_id, "a")
    assert first is not None
    assert first.attempt == 1
    assert claim(store, run_id, "a", "w2") is None


def test_a_step_whose_needs_are_open_cannot_be_claimed(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a"), task("b", "a")))
    assert claim(store, run_id, "b") is None


def test_finishing_makes_the_followers_ready_once(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a"), task("b"), task("c", "a", "b")))
    for step_id in ("a", "b"):
        claim(store, run_id, step_id)
    assert store.finish_step(run_id, "a", 1, "1").ready == ()
    assert [step.step_id for step in store.finish_step(run_id, "b", 1, "2").ready] == ["c"]


def test_a_late_answer_changes_nothing(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    claim(store, run_id, "a")
    store.fail_step(run_id, "a", 1, ERROR, retry_delay_ms=0)
    store.wake_step(run_id, "a", 1)
    assert claim(store, run_id, "a", "w2").attempt == 2
    assert store.finish_step(run_id, "a", 1, '"late"') is None
    assert store.fail_step(run_id, "a", 1, ERROR, retry_delay_ms=None) is None
    assert store.finish_step(run_id, "a", 2, '"right"') is not None
    outputs = store.read_outputs(run_id)
    assert outputs.pop("a") == "right"
    output, error = store.read_steps(run_id)["a"].late
    assert (output.attempt, output.error, outputs) == (1, None, {output.key: "late"})
    assert (error.attempt, error.error) == (1, ERROR)


def test_a_finished_step_stays_finished(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a"), task("b", "a")))
    claim(store, run_id, "a")
    assert store.finish_step(run_id, "a", 1, "1") is not None
    again = store.finish_step(run_id, "a", 1, "2")
    assert again is not None, "the same attempt may tell its answer again, where nobody told it that it was taken"
    assert (again.ready, again.decide) == ((), ())
    assert claim(store, run_id, "a") is None
    assert store.read_outputs(run_id) == {"a": 1}


def test_a_claim_returns_what_the_expressions_name_and_no_more(store: RunStore, create: Callable) -> None:
    steps = task("a"), task("b", "a"), task("c", "b", reads=("a",), reads_inputs=("topic",))
    run_id, _ = create(plan(*steps), inputs={"topic": '"tea"', "depth": "3"})
    for step_id, output in (("a", '{"x": 1}'), ("b", '"unread"')):
        claim(store, run_id, step_id)
        store.finish_step(run_id, step_id, 1, output)
    scope = claim(store, run_id, "c").scope
    assert scope["inputs"] == {"topic": "tea"}
    assert scope["steps"] == {"a": {"output": {"x": 1}, "status": "succeeded", "error": None, "attempts": 1}}


def test_a_large_output_is_stored_compressed_and_read_whole(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a"), task("b", "a", reads=("a",))))
    claim(store, run_id, "a")
    text = "ü" * 100_000
    store.finish_step(run_id, "a", 1, f'"{text}"')
    assert len(store.client.hget(store.keys.outputs(run_id), "a")) < 10_000
    assert claim(store, run_id, "b").scope["steps"]["a"]["output"] == text


def test_a_failed_attempt_waits_for_its_retry(store: RunStore, timers: Timers, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    claim(store, run_id, "a")
    store.fail_step(run_id, "a", 1, ERROR, retry_delay_ms=60_000)
    assert store.read_steps(run_id)["a"].state is StepState.WAITING
    assert claim(store, run_id, "a") is None
    assert store.wake_step(run_id, "a", 1) is None, "not due yet"
    assert timers.take_due(limit=10, hold_ms=1000).timers == ()


def test_a_step_that_fails_fails_the_run_and_cancels_the_rest(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a"), task("b"), task("c", "a", "b")))
    claim(store, run_id, "a")
    store.fail_step(run_id, "a", 1, ERROR, retry_delay_ms=None)
    run = store.read_run(run_id)
    assert run.state is RunState.FAILED
    assert run.error == ERROR
    states = {step.id: step.state for step in store.read_steps_in_order(run_id)}
    assert states == {"a": StepState.FAILED, "b": StepState.CANCELLED, "c": StepState.CANCELLED}
    assert claim(store, run_id, "b") is None


def test_a_failing_run_waits_for_what_still_runs(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a"), task("b"), task("c", "b")))
    claim(store, run_id, "a")
    claim(store, run_id, "b")
    store.fail_step(run_id, "a", 1, ERROR, retry_delay_ms=None)
    assert store.read_run(run_id).state is RunState.RUNNING
    advance = store.finish_step(run_id, "b", 1, "1")
    assert advance.ready == ()
    assert store.read_run(run_id).state is RunState.FAILED
    assert store.read_steps(run_id)["b"].state is StepState.SUCCEEDED


def test_on_error_continue_lets_the_followers_run(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a", on_error="continue"), task("b", "a", reads=("a",))))
    claim(store, run_id, "a")
    advance = store.fail_step(run_id, "a", 1, ERROR, retry_delay_ms=None)
    assert [step.step_id for step in advance.ready] == ["b"]
    view = claim(store, run_id, "b").scope["steps"]["a"]
    assert view == {"output": None, "status": "failed", "error": ERROR.to_json(), "attempts": 1}


def test_a_run_without_outputs_succeeds_with_its_last_step(store: RunStore, timers: Timers, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    claim(store, run_id, "a")
    store.finish_step(run_id, "a", 1, "1")
    assert store.read_run(run_id).state is RunState.SUCCEEDED
    assert timers.take_due(limit=10, hold_ms=1).next_ms is None, "no timer is left behind"


def test_an_unknown_run_is_an_error(store: RunStore) -> None:
    with pytest.raises(RunNotFound):
        claim(store, "nobody", "a")
