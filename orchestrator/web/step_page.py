"""What the page of a run shows of one step when it is opened: its input and output, its errors, its items."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.client import Client
from orchestrator.documents import error_document
from orchestrator.errors import ExpressionError, UnknownStep
from orchestrator.ids import base_of
from orchestrator.records import RunRecord, StepRecord, rfc3339
from orchestrator.states import StepState
from orchestrator.store.rows import in_order
from orchestrator.store.runs import RunStore
from orchestrator.web.run_page import pretty
from orchestrator.web.sentences import Why
from orchestrator.web.units import took, unit_of, units
from orchestrator.workflow.expressions import expressions_in, read_paths
from orchestrator.workflow.plan import Plan, PlanStep

Json = Any
LONGEST = 100_000  # characters of an input or output; the API gives the whole of it
MOST_ITEMS = 500
_INDEX = re.compile(r"\[([0-9]+)\]")


def step_view(client: Client, run_id: str, step_id: str) -> dict[str, Json]:
    """One step as people look at it: facts, input, output, errors with traceback, items of a foreach.

    Raises:
        RunNotFound. UnknownStep. StoreUnavailable.
    """
    with client.asking():
        store = client.store
        run, plan, known = store.read_run(run_id), store.read_plan(run_id), store.read_steps(run_id)
    steps = {step.id: step for step in in_order(plan, known, run.state)}
    step = plan.by_id.get(base_of(step_id))
    if step is None or step.internal or (step_id not in steps and step_id != step.id):
        raise UnknownStep(f"no step {step_id!r} in run {run_id}", run_id=run_id)
    # One of a phase that has not begun, or one inside a foreach, of which there are only those of the items.
    record = steps.get(step_id) or StepRecord(step_id, StepState(units(plan, known, run.state)[unit_of(step)]["state"]))
    inner = plan.by_id.get(f"{step.id}.item") if "[" in step_id else None
    online = {agent["name"] for agent in client.agents() if agent["workers"]}
    with client.asking():
        output = _output(store, run_id, step, record, known)
        given, about = _input(store, run, plan, inner or step, record)
        late = [(one, store.load_output(run_id, one.key)) for one in record.late]
    return {
        "id": step_id,
        "state": record.state.value,
        "why": Why(run, plan, known, online).about(record),
        "facts": list(_facts(record, inner or step)),
        "input": _cut(given),
        "input_note": about,
        "output": _cut(output),
        "error": error_document(record.error),
        "late": [
            {"attempt": one.attempt, "at": rfc3339(one.at), "output": _cut(found), "error": error_document(one.error)}
            for one, found in late
        ],
        "items": [
            {"id": name, "state": other.state.value}
            for name, other in steps.items()
            if name.startswith(f"{step_id}[") and name.count("[") == max(step_id.count("[") + 1, step.depth)
        ][:MOST_ITEMS],
        "child": record.child,
        "task": _stored_id(record.id, inner or step) if (inner or step).agent and record.attempts else None,
        "may_rerun": run.state.terminal and step.phase == "main" and step.scope is None and "[" not in step_id,
    }


def _stored_id(step_id: str, step: PlanStep) -> str:
    """The id of the only step of an item, which people see by the item's id."""
    return step.id + step_id[step_id.index("[") :] if step.id.endswith(".item") else step_id


def _output(store: RunStore, run_id: str, step: PlanStep, record: StepRecord, known: Mapping[str, StepRecord]) -> Json:
    """What a step has given. That of an item is only part of the foreach's own, once this is over."""
    output = store.load_output(run_id, record.id)
    whole, _, index = record.id.rpartition("[")
    if output is not None or step.foreach is None or record.id.count("[") <= step.depth:
        return output
    if (output := store.load_output(run_id, step.id + ".item" + record.id[len(step.id) :])) is not None:
        return output
    found = store.load_output(run_id, whole)
    complete = isinstance(found, list) and whole in known and len(found) == known[whole].items
    return found[int(index[:-1])] if complete else None


def _facts(record: StepRecord, step: PlanStep) -> Iterator[tuple[str, str]]:
    yield "does", f"{record.agent or step.agent}.{step.task}" if step.agent else step.kind
    if step.needs:
        yield "comes after", ", ".join(dict.fromkeys(need.split(".")[0] for need in step.needs))
    if record.attempts:
        most = f" of {step.retry.max_attempts} at most" if step.retry.max_attempts > 1 else ""
        yield "attempt", f"{record.attempts}{most}"
    if record.worker:
        yield "worker", record.worker
    ready = "ready again" if record.attempts > 1 else "ready"
    times = ((record.ready_at, ready), (record.started_at, "started"), (record.finished_at, "finished"))
    for at, name in sorted((at, name) for at, name in times if at is not None):
        yield name, rfc3339(at) or ""
    if took(record):
        yield "took", took(record)
    if len(record.hands) > 1:
        yield "went", " to ".join(record.hands)


def _cut(value: Json) -> str | None:
    if value is None:
        return None
    text = pretty(value)
    left = len(text) - LONGEST
    return text if left <= 0 else f"{text[:LONGEST]}\n… {left:,} characters more"


# --- the input, which is stored nowhere: it is what `with` says ----------------------------------------------------


class _Hidden(Mapping[str, str]):
    """Secrets as everybody may see them."""

    def __getitem__(self, name: str) -> str:
        return "***"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _input(store: RunStore, run: RunRecord, plan: Plan, step: PlanStep, record: StepRecord) -> tuple[Json, str]:
    """What the step got, and a remark about it. Nothing is computed in the process that serves the pages."""
    whole = record.id.count("[") == step.depth  # a foreach, and not one of its items
    template = step.foreach.items if step.foreach and whole else step.values if step.kind == "set" else step.params
    if not template:
        return None, ""
    if not any(True for _ in expressions_in(template)):
        return template, ""
    if record.started_at is None and record.finished_at is None:
        return template, "as the workflow writes it; the step has not started"
    try:
        return read_paths(template, _scope(store, run, plan, step, record.id)), ""
    except ExpressionError as error:
        return template, f"as the workflow writes it; its values cannot be shown any more: {error.message}"


def _scope(store: RunStore, run: RunRecord, plan: Plan, step: PlanStep, step_id: str) -> dict[str, Json]:
    """What the expressions of a step may read, as it stands now."""
    run_id = run.id
    scope = store.load_run_scope(run_id)
    reads = {name for name in (*step.reads, *step.asks) if name in plan.by_id}
    scope["steps"] = {name: store.load_view(run_id, name, beside=step_id) for name in reads}
    scope["run"]["error"] = {**run.error.to_json(), "traceback": None} if run.error else None
    scope["secrets"] = _Hidden()
    indices = _INDEX.findall(step_id)
    each = step if step.foreach is not None else plan.by_id.get(step.each or "")
    if each is not None and len(indices) > each.depth and each.foreach is not None:
        index = int(indices[each.depth])
        above = each.id + "".join(f"[{at}]" for at in indices[: each.depth])
        item = store.load_output(run_id, f"i:{above}[{index}]")
        if item is None:  # forgotten when the foreach was over
            items = read_paths(each.foreach.items, _scope(store, run, plan, each, above))
            if not isinstance(items, list):
                raise ExpressionError(f"the items of {each.id} are computed, and forgotten")
            item = items[index]
        scope |= {"item": item, "index": index}
    loop = plan.by_id.get(step.within or "")
    if loop is not None:
        around = store.read_steps(run_id).get(loop.id + "".join(f"[{at}]" for at in indices[: loop.depth]))
        scope["round"] = {"index": (around.rounds or 1) - 1 if around else 0, "previous": None}
    return scope
