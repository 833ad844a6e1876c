"""How each unit of a run's graph stands: its state, a word beside it, and how often it has run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from orchestrator.durations import duration
from orchestrator.ids import base_of
from orchestrator.records import StepRecord
from orchestrator.states import RunState, StepState
from orchestrator.workflow.plan import Plan, PlanStep

Json = Any
_S = StepState
_WORST_FIRST = (_S.FAILED, _S.RUNNING, _S.WAITING, _S.PENDING, _S.CANCELLED, _S.SUCCEEDED, _S.SKIPPED)


def units(plan: Plan, known: Mapping[str, StepRecord], run: RunState) -> dict[str, dict[str, Json]]:
    """unit -> `state`, `note`, `child` (the run that it has started), and of what runs more than once `of`, `done` and
    `failed`. `undone`: its compensation has begun."""
    states: dict[tuple[str, int], Counter[StepState]] = {}
    for name, record in known.items():
        states.setdefault((base_of(name), name.count("[")), Counter())[record.state] += 1
    undone = {unit_of(plan.by_id[base]) for base, _ in states if plan.by_id[base].undoes}
    found: dict[str, dict[str, Json]] = {}
    for step in plan.steps:
        if step.kind in ("join", "end") or step.undoes or step.id.endswith(".item"):
            continue
        if step.depth:
            unit = _many(states.get((step.id, step.depth), Counter()))
        else:
            unit = _one(step, known.get(step.id), run)
        if step.foreach is not None and not step.depth:
            base = f"{step.id}.item" if step.last == f"{step.id}.item" else step.id
            unit |= _items(known.get(step.id), states.get((base, 1), Counter()))
        found[step.id] = unit | ({"undone": True} if step.id in undone else {})
    return found


def unit_of(step: PlanStep) -> str:
    """The unit that shows a step people see: what is undone shows that it is, a foreach stands for its only step."""
    return (step.undoes or step.id).removesuffix(".item")


def _one(step: PlanStep, record: StepRecord | None, run: RunState) -> dict[str, Json]:
    if record is not None:
        child = {"child": record.child} if record.child else {}
        return {"state": record.state.value, "note": _note(record)} | child
    unreached = StepState.PENDING
    if run.terminal:
        unreached = StepState.CANCELLED if step.phase == "main" else StepState.SKIPPED
    return {"state": unreached.value, "note": ""}


def _note(record: StepRecord) -> str:
    if record.state is StepState.RUNNING and record.rounds is not None:
        return f"round {record.rounds}"
    if record.state is StepState.RUNNING and record.progress is not None:
        return f"{record.progress:.0%}"
    if record.state is StepState.WAITING:
        return f"for {record.signal}" if record.signal else f"attempt {record.attempts + 1}" if record.error else ""
    if record.state is StepState.FAILED and record.error:
        return record.error.type
    if record.reused:
        return "taken over"
    if record.attempts > 1:
        return f"attempt {record.attempts}"
    return took(record)


def took(record: StepRecord) -> str:
    """How long it took: `13 ms`, `2.4 s`, `3m 05s`; nothing for what is not over."""
    if record.finished_at is None or record.started_at is None:
        return ""
    span_ms = record.finished_at - record.started_at
    return duration(span_ms) if span_ms >= 1000 else f"{max(0, span_ms)} ms"


def _many(states: Counter[StepState]) -> dict[str, Json]:
    """A step inside a foreach: there is one of it for each item that was begun."""
    state = next((state for state in _WORST_FIRST if states[state]), StepState.PENDING)
    done = sum(count for state, count in states.items() if state.terminal)
    return {"state": state.value, "note": "", "of": states.total(), "done": done, "failed": states[StepState.FAILED]}


def _items(record: StepRecord | None, states: Counter[StepState]) -> dict[str, Json]:
    if record is None or record.items is None:
        return {}
    return {"note": "", "of": record.items, "done": record.items_done or 0, "failed": states[StepState.FAILED]}
