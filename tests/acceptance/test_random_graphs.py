"""Random workflows on live workers: each step runs once, in an order its needs allow, and ends as in `simulate`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from orchestrator import RunHandle, RunState
from orchestrator.records import Event
from orchestrator.testing import SimulatedRun, simulate
from orchestrator.workflow.plan import Plan
from tests.acceptance import agents
from tests.acceptance.random_graphs import workflows
from tests.acceptance.team import Team

ENDS = {"step.succeeded", "step.failed", "step.skipped", "step.cancelled"}
Json = Any


@pytest.mark.timeout(300)
@settings(
    max_examples=25, deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink on live workers takes many minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip
@given(text=workflows())
def test_the_engine_does_what_the_simulation_does(crew: Team, text: str) -> None:
    plan = crew.client.compile(crew.write(text))
    expected = simulate(plan, agents=[agents.hand, agents.many])
    run = crew.client.submit(plan)
    assert run.wait(60).state is expected.status
    events = list(run.events())
    assert_each_attempt_ran_once(crew, run, events)
    assert_order(plan, events)
    if expected.status is RunState.SUCCEEDED or not is_race(plan):
        assert_same(plan, run, expected)


def is_race(plan: Plan) -> bool:
    """Whether a failure stops the run, so that what else has run depends on which branch was faster."""
    return any(step.on_error == "fail" for step in plan.steps if not step.internal)


def assert_each_attempt_ran_once(crew: Team, run: RunHandle, events: list[Event]) -> None:
    called = Counter((note["step"], note["attempt"]) for note in crew.journal(run))
    assert set(called.values()) <= {1}
    started = Counter(event.step for event in events if event.name == "step.started")
    ended = Counter(event.step for event in events if event.name in ENDS)
    assert set(ended.values()) <= {1}
    for step in run.steps():
        assert step.state.terminal
        if step.agent and step.items is None:
            assert started[step.id] == step.attempts
            assert sum(step_id == step.id for step_id, _ in called) <= step.attempts


def assert_order(plan: Plan, events: list[Event]) -> None:
    """No step starts before all that it needs has ended."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for at, event in enumerate(events):
        if event.step:
            first.setdefault(event.step, at)
            if event.name in ENDS:
                last[event.step] = at
    for step in plan.steps:
        if not step.internal and step.id in first and events[first[step.id]].name != "step.cancelled":
            for need in visible_needs(plan, step.id):
                assert last[need] < first[step.id], f"{step.id} came before {need}, which it needs"


def visible_needs(plan: Plan, step_id: str) -> set[str]:
    """The users' steps that a step waits for, through gates and joins."""
    found: set[str] = set()
    for need in plan.by_id[step_id].needs:
        found |= visible_needs(plan, need) if plan.by_id[need].internal else {need}
    return found


def assert_same(plan: Plan, run: RunHandle, expected: SimulatedRun) -> None:
    """Statuses, attempts, outputs, errors and reasons are those of the simulation."""
    document = run.document()
    assert document["outputs"] == expected.outputs
    for step in plan.steps:
        if step.internal:
            continue
        found = document["steps"][step.id]
        assert shown(found) == simulated(expected, step.id), step.id
        # When one item fails the whole, the others may have been faster or not.
        if step.foreach is not None and (step.foreach.on_item_error != "fail" or found["status"] == "succeeded"):
            for at, item in enumerate(found.get("items", [])):
                # Their outputs moved into the output of the whole.
                assert shown(item)[:2] == simulated(expected, f"{step.id}[{at}]")[:2], f"{step.id}[{at}]"


def shown(step: Json) -> tuple[Json, ...]:
    error = step["error"] or {}
    return step["status"], step["attempts"], step["output"], error.get("type"), step.get("reason")


def simulated(run: SimulatedRun, step_id: str) -> tuple[Json, ...]:
    step = run.steps[step_id]
    return step.status.value, step.attempts, step.output, step.error.type if step.error else None, step.reason
