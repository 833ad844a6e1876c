"""The tests that a workflow file contains: run one with its mocks, and compare what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import OrchestratorError, UnknownAgent, WorkflowInvalid
from orchestrator.ids import base_of
from orchestrator.settings import Settings
from orchestrator.simulation.run import SimulatedRun, SimulatedStep, simulate
from orchestrator.states import StepState
from orchestrator.workflow.nearby import listed
from orchestrator.workflow.plan import Plan
from orchestrator.workflow.spec import Case

Json = Any
#: Where an output is expected and not there, or the other way round.
MISSING: Json = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the case expects it. `what` is `status`, `outputs.NAME`, `ran` or `skipped`.

    Both values are words, but of `outputs.NAME`: there they are its values, or MISSING.
    """

    what: str
    expected: Json
    actual: Json


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of a case. `problem` says why it could not be run to its end; then nothing was compared."""

    name: str
    took_ms: float
    problem: str | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def ok(self) -> bool:
        return self.problem is None and not self.differences


def run_case(plan: Plan, case: Case, settings: Settings | None = None) -> CaseResult:
    """Run a workflow with the mocks and signals of a case, in this process, with a virtual clock."""
    began = time.perf_counter()
    problem: str | None = None
    differences: tuple[Difference, ...] = ()
    try:
        run = simulate(plan, case.inputs, mock=case.mock, signals=case.signals, settings=settings)
    except UnknownAgent as missing:
        problem = f"{missing.message}: write its output under `mock`"
    except WorkflowInvalid as invalid:
        problem = "; ".join(map(str, invalid.problems))
    except OrchestratorError as error:
        problem = error.message
    else:
        problem = None if run.status.terminal else _stuck(plan, run, case)
        differences = () if problem else tuple(_compare(plan, case, run))
    return CaseResult(case.name, (time.perf_counter() - began) * 1000, problem, differences)


def _stuck(plan: Plan, run: SimulatedRun, case: Case) -> str:
    """Why a run does not end."""
    waiting = []
    for name, step in run.steps.items():
        if step.status is StepState.WAITING:
            base = base_of(name)
            child = plan.by_id.get(f"{base}.item", plan.by_id[base]).child
            other = "waits for its child run" if child else "waits"
            waiting.append(f"{name} {step.reason or other}")
    missing = sorted({name for name in run.waits_for if name not in case.signals})
    hint = f"; write {listed(missing)} under `signals`" if missing else ""
    return f"the run does not end: {listed(waiting)}{hint}"


def _compare(plan: Plan, case: Case, run: SimulatedRun) -> Iterator[Difference]:
    expect = case.expect
    status = expect.status or "succeeded"
    if run.status != status:
        why = f": {run.error.type}: {run.error.message}" if run.error else ""
        where = f" in step {run.error.step}" if run.error and run.error.step else ""
        yield Difference("status", status, f"{run.status}{where}{why}")
    elif expect.outputs is not None:
        names = dict.fromkeys((*expect.outputs, *run.outputs))
        for name in names:
            expected, actual = expect.outputs.get(name, MISSING), run.outputs.get(name, MISSING)
            if not same(expected, actual):
                yield Difference(f"outputs.{name}", expected, actual)
    for name in expect.ran or ():
        found = _records(run, name)
        if not any(_ran(plan, name, step) for step in found):
            yield Difference("ran", name, f"{name} {_state(found)}")
    for name in expect.skipped or ():
        found = _records(run, name)
        if not found or any(step.status is not StepState.SKIPPED for step in found):
            yield Difference("skipped", name, f"{name} {_state(found)}")


def _records(run: SimulatedRun, name: str) -> list[SimulatedStep]:
    """The step of this id; of a step inside a foreach, that of each item."""
    exact = run.steps.get(name)
    return [exact] if exact else [step for other, step in run.steps.items() if base_of(other) == name]


def _ran(plan: Plan, name: str, step: SimulatedStep) -> bool:
    """Whether it had an attempt; a step that runs on no agent has none when it succeeds."""
    on_agent = plan.by_id[base_of(name)].kind == "task"
    if on_agent or step.status is StepState.FAILED:
        return step.attempts > 0 and step.status in (StepState.SUCCEEDED, StepState.FAILED)
    return step.status is StepState.SUCCEEDED


def _state(found: list[SimulatedStep]) -> str:
    if not found:
        return "was not reached"
    step = next((step for step in found if step.status is not StepState.SKIPPED), found[0])
    why = step.reason or (f"{step.error.type}: {step.error.message}" if step.error else "")
    return f"{step.status}: {why}" if why else str(step.status)


def same(one: Json, other: Json) -> bool:
    """Whether two values are equal as JSON: 2 is 2.0, and true is no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
