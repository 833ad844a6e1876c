"""How a run walks its graph: skips, gates, joins, run_if, foreach."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.records import Advance, StepError
from orchestrator.states import RunState, StepState
from orchestrator.store.runs import RunStore
from orchestrator.workflow.plan import PlanStep
from tests.factories import foreach, plan, task

ERROR = StepError("ValueError", "no luck")


def ids(advance: Advance | None) -> list[str]:
    assert advance is not None
    return [step.step_id for step in advance.ready]


def do(store: RunStore, run_id: str, step_id: str, output: str = "1") -> Advance | None:
    claim = store.claim_step(run_id, step_id, worker="w", lease_ms=10_000)
    assert claim is not None, f"{step_id} is not to be had"
    return store.finish_step(run_id, step_id, claim.attempt, output)


def fail(store: RunStore, run_id: str, step_id: str) -> Advance | None:
    claim = store.claim_step(run_id, step_id, worker="w", lease_ms=10_000)
    assert claim is not None
    return store.fail_step(run_id, step_id, claim.attempt, ERROR, retry_delay_ms=None)


def test_a_step_with_when_is_decided_and_then_admitted(store: RunStore, create: Callable) -> None:
    run_id, advance = create(plan(task("a", when="${{ true }}")))
    assert (ids(advance), advance.decide) == ([], ("a",))
    assert advance.question == store.load_decision(run_id, "a"), "what it needs came along"
    assert store.claim_step(run_id, "a", worker="w", lease_ms=1) is None, "not before it is decided"
    assert ids(store.admit_step(run_id, "a")) == ["a"]
    assert store.admit_step(run_id, "a") is None, "deciding twice is harmless"
    do(store, run_id, "a")


def test_a_skipped_step_does_not_stop_its_followers(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a", when="${{ false }}"), task("b", "a")))
    assert ids(store.skip_step(run_id, "a", "its when is false")) == ["b"]
    assert store.skip_step(run_id, "a", "again") is None
    step = store.read_steps(run_id)["a"]
    assert (step.state, step.reason) == (StepState.SKIPPED, "its when is false")


def test_everything_behind_a_gate_that_stays_shut_is_skipped_whatever_its_run_if(
    store: RunStore, create: Callable
) -> None:
    gate = PlanStep("p", "gate", when="${{ false }}")
    end = PlanStep("p.end", "join", needs=("y",))
    steps = gate, task("x", "p", gate="p", run_if="always"), task("y", "x", gate="p", run_if="all_done"), end
    run_id, _ = create(plan(*steps, task("z", "p.end")))
    assert ids(store.skip_step(run_id, "p", "its when is false")) == ["z"]
    states = {step.id: step.state for step in store.read_steps(run_id).values()}
    assert states["x"] == states["y"] == states["p.end"] == StepState.SKIPPED


@pytest.mark.parametrize(
    ("run_if", "runs"),
    [("none_failed", True), ("all_success", False), ("any_success", True), ("all_done", True), ("always", True)],
)
def test_run_if_after_one_success_and_one_failure(store: RunStore, create: Callable, run_if: str, runs: bool) -> None:
    run_id, _ = create(plan(task("a"), task("b", on_error="continue"), task("c", "a", "b", run_if=run_if)))
    do(store, run_id, "a")
    assert ids(fail(store, run_id, "b")) == (["c"] if runs else [])
    if not runs:
        assert "1 failed" in (store.read_steps(run_id)["c"].reason or "")
        assert store.read_run(run_id).state is RunState.SUCCEEDED


def test_any_success_without_one_is_skipped(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a", on_error="continue"), task("c", "a", run_if="any_success")))
    assert ids(fail(store, run_id, "a")) == []
    assert store.read_steps(run_id)["c"].state is StepState.SKIPPED


def test_a_join_passes_on_at_once(store: RunStore, create: Callable) -> None:
    join = PlanStep("p.end", "join", needs=("a", "b"))
    run_id, _ = create(plan(task("a"), task("b"), join, task("c", "p.end"), task("d", "p.end")))
    do(store, run_id, "a")
    assert ids(do(store, run_id, "b")) == ["c", "d"]


def test_a_foreach_keeps_to_its_window_and_collects_when_all_are_done(store: RunStore, create: Callable) -> None:
    run_id, advance = create(plan(foreach("f", max_parallel=2)))
    assert advance.decide == ("f",)
    assert ids(store.open_foreach(run_id, "f", ["10", "20", "30"], 2)) == ["f[0]", "f[1]"]
    assert store.open_foreach(run_id, "f", ["10"], 2) is None, "opening twice is harmless"
    claim = store.claim_step(run_id, "f[1]", worker="w", lease_ms=1000)
    assert claim is not None
    assert (claim.scope["item"], claim.scope["index"]) == (20, 1)
    assert ids(store.finish_step(run_id, "f[1]", 1, "2")) == ["f[2]"]
    do(store, run_id, "f[0]", "1")
    done = do(store, run_id, "f[2]", "3")
    assert done is not None
    assert done.decide == ("f",)
    assert [item["output"] for item in store.load_items(run_id, "f", 3)] == [1, 2, 3]
    store.finish_step(run_id, "f", 0, "[1,2,3]")
    assert store.read_outputs(run_id) == {"f": [1, 2, 3]}, "the items' own outputs are given back"
    assert store.read_run(run_id).state is RunState.SUCCEEDED


def test_a_foreach_over_nothing_is_collected_at_once(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(foreach("f")))
    opened = store.open_foreach(run_id, "f", [], None)
    assert opened is not None
    assert opened.decide == ("f",)


def test_an_item_that_fails_stops_the_items_that_have_not_started(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(foreach("f")))
    store.open_foreach(run_id, "f", ["1", "2", "3"], None)
    store.claim_step(run_id, "f[1]", worker="w", lease_ms=10_000)
    advance = fail(store, run_id, "f[0]")
    assert advance is not None
    assert advance.decide == (), "one item still runs"
    last = store.finish_step(run_id, "f[1]", 1, "2")
    assert last is not None
    assert last.decide == ("f",)
    assert store.read_steps(run_id)["f[2]"].state is StepState.CANCELLED


@pytest.mark.parametrize("mode", ["collect", "skip"])
def test_items_may_fail_where_the_foreach_says_so(store: RunStore, create: Callable, mode: str) -> None:
    run_id, _ = create(plan(foreach("f", on_item_error=mode)))
    store.open_foreach(run_id, "f", ["1", "2"], 1)
    assert ids(fail(store, run_id, "f[0]")) == ["f[1]"]
    done = do(store, run_id, "f[1]")
    assert done is not None
    assert done.decide == ("f",)
