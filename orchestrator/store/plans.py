"""How a plan lies in the store: once per definition, in pieces, so that no transition reads the whole of it.

The graph part is what the scripts walk, the body what the worker needs, the segment what the canvas publishes.
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator.workflow.plan import Plan, PlanStep, step_from_json, step_to_json

Json = Any


def plan_fields(plan: Plan, dispatch: dict[str, Json]) -> dict[str, str]:
    """The fields of the plan's hash.

    Args:
        dispatch: step id -> segment, from `workflow.segments.dispatch_table`.
    """
    fields = {
        "$meta": _dump({key: value for key, value in plan.to_json().items() if key != "steps"}),
        "$order": _dump([step.id for step in plan.steps]),
        "$entry": _dump(plan.entry),
        "$count": str(len(plan.steps)),
    }
    if plan.outputs is not None:
        fields["$outputs"] = "1"
    for step in plan.steps:
        fields[f"g:{step.id}"] = _dump(_graph(step))
        fields[f"b:{step.id}"] = _dump(step_to_json(step))
        if step.agent:
            fields[f"s:{step.id}"] = _dump(dispatch.get(step.id) or single(step))
    return fields


def single(step: PlanStep) -> dict[str, Json]:
    """The segment of a step that goes out alone: a retry, an item of a foreach, a step behind a `when`."""
    return {"chain": [[step.id, step.agent, step.task, step.priority, step.timeout_ms]]}


def read_plan(fields: dict[str, str]) -> Plan:
    """The inverse of `plan_fields`, without the segments."""
    meta = json.loads(fields["$meta"])
    steps = tuple(step_from_json(json.loads(fields[f"b:{step_id}"])) for step_id in json.loads(fields["$order"]))
    known = {key: value for key, value in meta.items() if key in Plan.__dataclass_fields__}
    return Plan(**{**known, "steps": steps, "output_reads": tuple(meta.get("output_reads", ()))})


def _graph(step: PlanStep) -> dict[str, Json]:
    graph: dict[str, Json] = {"kind": step.kind, "needs": len(step.needs), "next": step.next, "reads": step.reads}
    optional = {
        "run_if": None if step.run_if == "none_failed" else step.run_if,
        "gate": step.gate,
        "agent": step.agent,
        "priority": step.priority,
        "dispatched": step.dispatched or None,
        "on_error": None if step.on_error == "fail" else step.on_error,
        "on_item_error": step.foreach.on_item_error if step.foreach else None,
        "timeout_ms": step.timeout_ms,
        "reads_inputs": step.reads_inputs,
    }
    return graph | {key: value for key, value in optional.items() if value is not None}


def _dump(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
