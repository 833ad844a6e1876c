"""The steps of a run as people see them: which there are, in which order, by which ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from orchestrator.ids import base_of
from orchestrator.records import StepRecord
from orchestrator.states import RunState, StepState
from orchestrator.workflow.plan import Plan, PlanStep


def in_order(plan: Plan, known: Mapping[str, StepRecord], run: RunState) -> list[StepRecord]:
    """The records of a run as people see them: the steps in the plan's order, each foreach followed by its items.

    A step that was not reached is pending, or cancelled once the run is over. Compensations, and the steps of
    `on_failure` and `finally`, are there only where they ran.
    """
    unreached = StepState.CANCELLED if run.terminal else StepState.PENDING
    undone: dict[str, list[str]] = {}
    for name in known:
        undone.setdefault(base_of(name), []).append(name)
    undoing = {step.undoes: step for step in plan.steps if step.undoes}

    def rows(step: PlanStep, at: str) -> Iterator[StepRecord]:
        record = known.get(step.id + at)
        if record is not None or step.phase == "main":
            yield _with_agent(record or StepRecord(step.id + at, unreached), step)
        if record is not None and step.foreach is not None:
            for index in range(record.items or 0):
                yield from item(step, f"{at}[{index}]")
        yield from compensations(step, at)

    def item(step: PlanStep, at: str) -> Iterator[StepRecord]:
        whole = known.get(step.id + at)
        if whole is None:
            return
        only = f"{step.id}.item"
        if step.last == only:
            inner = plan.by_id[only]
            record = known.get(only + at)
            yield _with_agent(replace(record, id=whole.id) if record else whole, inner)
            yield from compensations(inner, at)
            return
        yield _with_agent(whole, step)
        for name in step.body:
            if not plan.by_id[name].internal:
                yield from rows(plan.by_id[name], at)

    def compensations(step: PlanStep, at: str) -> Iterator[StepRecord]:
        undo = undoing.get(step.id)
        found = undone.get(undo.id, []) if undo else []
        for name in sorted(found, key=lambda name: (known[name].started_at or 0, name)):
            rest = name[len(undo.id) :] if undo else ""
            if rest == at or rest.startswith(at + "~") or (step.kind == "foreach" and rest.startswith(at + "[")):
                yield _with_agent(known[name], undo)

    found: list[StepRecord] = []
    for step in plan.steps:
        if step.depth == 0 and not step.internal and not step.undoes:
            found += rows(step, "")
    return found


def _with_agent(record: StepRecord, step: PlanStep | None) -> StepRecord:
    return replace(record, agent=record.agent or step.agent) if step else record
