"""Which steps of a finished run another run of it takes over, and which it has to run again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.agents.submission import order_run
from orchestrator.agents.values import encode
from orchestrator.errors import RunNotOver, UnknownStep
from orchestrator.ids import base_of
from orchestrator.records import Order
from orchestrator.settings import Settings
from orchestrator.states import StepState
from orchestrator.store.runs import RunStore
from orchestrator.store.values import pack
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.plan import Plan, PlanStep, step_to_json

Json = Any
#: What may change in a definition without the output of a step being another one.
_ASIDE = ("needs", "next", "gate", "run_if", "on_error", "retry", "timeout_ms", "priority", "limits", "reads")


@dataclass(frozen=True, slots=True)
class Rerun:
    """What a rerun would do, before it does. `reused` and `runs` are ids of steps in the plan's order.

    `patched` are the reused ones whose output was given; `items` says of a foreach that runs again how many of its
    items are reused.
    """

    order: Order
    reused: tuple[str, ...]
    runs: tuple[str, ...]
    patched: tuple[str, ...]
    items: dict[str, int]


def plan_rerun(
    store: RunStore,
    run_id: str,
    settings: Settings,
    *,
    from_step: str | None = None,
    patch: Mapping[str, Json] | None = None,
    definition: Plan | None = None,
) -> Rerun:
    """Another run of a run that is over: what succeeded is reused, unless it comes after something that runs again.

    Args:
        from_step: this step runs again, and all that come after it; default: those that did not succeed.
        patch: step id -> output that counts instead of its own. What comes after it runs again.
        definition: instead of the one the run is pinned to. Steps that it changes run again.
    Raises:
        RunNotFound. RunNotOver. UnknownStep. WorkflowInvalid: the inputs do not fit the definition.
    """
    run, records, outputs = store.read_kept(run_id)
    state = store.read_run(run_id).state  # raises RunNotFound
    if not state.terminal:
        raise RunNotOver(f"run {run_id} is {state}; cancel it first, or wait", run_id=run_id, status=state)
    old = store.read_plan(run_id)
    chooser = _Chooser(old, definition or old, records, patch or {}, from_step)
    kept, again = chooser.choose(outputs, settings)
    inputs = {name[2:]: json.loads(text) for name, text in run.items() if name.startswith("i:")}
    order = order_run(chooser.plan, inputs, settings, priority=run["priority"], idempotency_key=None)
    order = replace(order, idempotency_key=None, rerun_of=run_id, kept=tuple(kept), again=again)
    return Rerun(order, tuple(chooser.reused), tuple(chooser.runs), tuple(patch or ()), chooser.items)


class _Chooser:
    """Goes through the steps of the new run in order; see `choose`."""

    def __init__(
        self, old: Plan, plan: Plan, records: dict[str, str], patch: Mapping[str, Json], from_step: str | None
    ) -> None:
        self.plan = plan
        self.reused: list[str] = []
        self.runs: list[str] = []
        self.items: dict[str, int] = {}
        self._old = old
        self._records = {name: json.loads(text) for name, text in records.items() if name[0] != "#"}
        self._patch = patch
        self._from = from_step
        for name in (*patch, *([from_step] if from_step else ())):
            self._check_known(name)

    def _check_known(self, name: str) -> None:
        known = {step.id for step in self.plan.part("main") if not step.internal}
        if name in known:
            return
        step = self.plan.by_id.get(name)
        if step is not None and step.scope is not None:
            raise UnknownStep(f"{name!r} is inside {step.scope!r}, which runs again as a whole: name {step.scope!r}")
        raise UnknownStep(f"no step {name!r}{did_you_mean(name, known) or f'; there is {listed(sorted(known))}'}")

    def choose(self, outputs: dict[str, str], settings: Settings) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
        """(what is kept: id, record, output), (steps whose child run is run again: id -> that run)."""
        kept: list[tuple[str, str, str]] = []
        again: dict[str, str] = {}
        clean: dict[str, bool] = {}
        for step in self.plan.part("main"):
            before = all(clean[need] for need in step.needs)
            record = self._records.get(step.id, {})
            if step.id in self._patch:
                text = encode(self._patch[step.id], max_bytes=settings.max_output_bytes, what="the output")
                kept.append((step.id, json.dumps({"state": StepState.SUCCEEDED, "reused": True}), pack(text)))
                self.reused.append(step.id)
                clean[step.id] = False
                continue
            same = before and step.id != self._from and self._same(step) and not self._undone(step)
            state = record.get("state")
            clean[step.id] = step.internal or (same and state in (StepState.SUCCEEDED, StepState.SKIPPED))
            if step.internal:
                clean[step.id] = before
            elif same and state == StepState.SUCCEEDED:
                kept += self._whole(step, outputs)
                self.reused.append(step.id)
            elif not (same and state == StepState.SKIPPED):
                self.runs.append(step.id)
                if before and step.id != self._from and step.foreach is not None and self._same(step, items=False):
                    kept += self._finished_items(step, record, outputs)
                if same and step.child and record.get("child"):
                    again[step.id] = record["child"]
        return kept, again

    def _same(self, step: PlanStep, *, items: bool = True) -> bool:
        """Whether the step, with all that is inside, does what it did in the old definition.

        Args:
            items: whether the items of a foreach have to come from the same place, too.
        """
        aside = () if items else ("foreach", "asks", "asks_inputs")
        names = (step.id, *(name for name in self._inside(step)))
        old, new = self._old.by_id, self.plan.by_id
        return all(name in old and _work(old[name], aside) == _work(new[name], aside) for name in names)

    def _inside(self, step: PlanStep) -> list[str]:
        found = list(step.body)
        for name in step.body:
            inner = self.plan.by_id.get(name)
            if inner is not None and inner.kind == "foreach":
                found += self._inside(inner)
        return [name for name in found if name in self.plan.by_id]

    def _undone(self, step: PlanStep) -> bool:
        """Whether a compensation of the step, or of one inside, has run."""
        undone = {f"{name.removesuffix('.item')}.compensate" for name in (step.id, *self._inside(step))}
        return any(base_of(name) in undone for name in self._records)

    def _whole(self, step: PlanStep, outputs: dict[str, str]) -> list[tuple[str, str, str]]:
        bases = {step.id, *self._inside(step)}
        names = [name for name in self._records if base_of(name) in bases]
        return [self._entry(name, outputs) for name in names]

    def _finished_items(
        self, step: PlanStep, record: dict[str, Json], outputs: dict[str, str]
    ) -> list[tuple[str, str, str]]:
        """Items of a foreach that are done. The item itself goes along: it counts only for the same one."""
        if any(self.plan.by_id[name].compensated for name in self._inside(step)):
            return []
        names = [f"{step.id}[{at}]" for at in range(record.get("n") or 0)]
        done = [name for name in names if self._records.get(name, {}).get("state") == StepState.SUCCEEDED]
        done = [name for name in done if name in outputs and f"i:{name}" in outputs]
        self.items[step.id] = len(done)
        found = [self._entry(name, outputs) for name in done]
        return found + [(f"i:{name}", "", outputs[f"i:{name}"]) for name in done]

    def _entry(self, name: str, outputs: dict[str, str]) -> tuple[str, str, str]:
        return name, json.dumps(self._records[name] | {"reused": True}), outputs.get(name, "")


def _work(step: PlanStep, aside: tuple[str, ...]) -> dict[str, Json]:
    return {name: value for name, value in step_to_json(step).items() if name not in (*_ASIDE, *aside)}
