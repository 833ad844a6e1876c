"""How a plan lies in the store: once per definition, in pieces, so that no transition reads the whole of it.

The graph part is what the scripts walk, the body what the worker needs, the segment what the canvas publishes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.store.envelopes import envelope
from orchestrator.store.routing import queue_of
from orchestrator.workflow.plan import (
    Limit,
    Phase,
    Plan,
    PlanStep,
    policies_from_json,
    step_from_json,
    step_to_json,
)

Json = Any


@dataclass(frozen=True, slots=True)
class Canvas:
    """How a ready step is kept: as the message that a script puts on its agent's queue, or as its segment (JSON) where
    the broker is another server and whoever hears of it sends it.

    Args:
        prefix: of the queues; None: another server.
    """

    prefix: str | None = None

    @property
    def stem(self) -> str:
        """What the broker's lists for agents start with; empty where it is another server."""
        return "" if self.prefix is None else queue_of("", self.prefix)

    def keep(self, segment: dict[str, Json]) -> str:
        return _dump(segment) if self.prefix is None else envelope(segment, self.prefix)

    def alone(self, step: PlanStep) -> str:
        """Of a step that goes out alone: a retry, an item of a foreach, a step behind a `when`."""
        return self.keep({"chain": [[step.id, step.agent, step.task, step.priority, step.timeout_ms]]})


def plan_fields(plan: Plan, dispatch: dict[str, Json], canvas: Canvas) -> dict[str, str]:
    """The fields of the plan's hash.

    Args:
        dispatch: step id -> segment, from `workflow.segments.dispatch_table`.
    """
    fields = {
        "$meta": _dump({key: value for key, value in plan.to_json().items() if key != "steps"}),
        "$order": _dump([step.id for step in plan.steps]),
        "$entry": _dump(plan.entry),
        "$count": str(len(plan.part("main"))),
        "$children": _dump([child.hash for child in plan.children]),
        "$stem": canvas.stem,
    }
    phases: tuple[Phase, ...] = ("on_failure", "finally")
    for phase in phases:
        if entry := plan.entry_of(phase):
            fields |= {f"$entry:{phase}": _dump(entry), f"$count:{phase}": str(len(plan.part(phase)))}
    if plan.outputs is not None:
        fields["$outputs"] = _dump({"outputs": plan.outputs, "output_reads": plan.output_reads})
    if any(step.undoes for step in plan.steps):
        fields["$undo"] = "1"
    for step in plan.steps:
        fields[f"g:{step.id}"] = _dump(_graph(step, plan))
        fields[f"b:{step.id}"] = _dump(step_to_json(step))
        if step.agent:
            segment = dispatch.get(step.id)
            fields[f"s:{step.id}"] = canvas.keep(segment) if segment else canvas.alone(step)
        if step.fallback:
            agent, task = step.fallback
            fields[f"f:{step.id}"] = canvas.alone(replace(step, agent=agent, task=task))
    return fields


def read_plan(fields: dict[str, str]) -> Plan:
    """The inverse of `plan_fields`, without the segments and the children."""
    meta = json.loads(fields["$meta"])
    steps = tuple(step_from_json(json.loads(fields[f"b:{step_id}"])) for step_id in json.loads(fields["$order"]))
    known = {key: value for key, value in meta.items() if key in Plan.__dataclass_fields__}
    policies = policies_from_json(meta.get("policies", {}))
    reads = tuple(meta.get("output_reads", ()))
    return Plan(**{**known, "steps": steps, "output_reads": reads, "policies": policies, "children": ()})


def _graph(step: PlanStep, plan: Plan) -> dict[str, Json]:
    graph: dict[str, Json] = {"kind": step.kind, "needs": len(step.needs), "next": step.next, "reads": step.reads}
    named = {*step.reads, *step.asks, *(step.reads_previous or ()), *(step.loop.previous if step.loop else ())}
    deep = {other: plan.by_id[other].depth for other in sorted(named) if plan.by_id[other].depth}
    on_agent = step.kind in ("task", "foreach") and not step.dispatched
    optional = {
        "run_if": None if step.run_if == "none_failed" else step.run_if,
        "gate": step.gate,
        "agent": step.agent,
        "priority": step.priority,
        "dispatched": step.dispatched or None,
        "internal": step.internal or None,
        "on_error": None if step.on_error == "fail" else step.on_error,
        "on_item_error": step.foreach.on_item_error if step.foreach else None,
        "on_timeout": step.wait.on_timeout if step.wait else None,
        "timeout_ms": step.timeout_ms,
        "reads_inputs": step.reads_inputs,
        "asks": step.asks if on_agent else None,
        "asks_inputs": step.asks_inputs if on_agent else None,
        "branch": step.branch,
        "enough": step.foreach.enough if step.foreach else step.enough,
        "rest": "finish" if "finish" in (step.rest, step.foreach.rest if step.foreach else "") else None,
        "race": step.race,
        "fallback": step.fallback,
        "compensate": step.compensated or None,
        "keeps": (step.foreach is not None and _undoes_items(step, plan)) or None,
        "undoes": step.undoes.removesuffix(".item") if step.undoes else None,
        "undone": step.undoes,
        "limits": _limits(step) or None,
        "cache_ms": step.cache.ttl_ms if step.cache else None,
        "phase": None if step.phase == "main" else step.phase,
        "scope": step.scope,
        "each": step.each,
        "depth": step.depth or None,
        "body": step.body or None,
        "entry": step.entry or None,
        "last": step.last,
        "deep": deep or None,
    }
    if step.loop:
        optional |= {"loop": step.id, "loop_depth": step.depth, "previous": step.loop.previous}
    elif step.reads_previous is not None and step.within:
        loop_depth = plan.by_id[step.within].depth
        optional |= {"loop": step.within, "loop_depth": loop_depth, "previous": step.reads_previous}
    return graph | {key: value for key, value in optional.items() if value is not None}


def _undoes_items(step: PlanStep, plan: Plan) -> bool:
    """Whether something inside may have to be undone, for which the items are needed later."""
    return step.compensated or any(name in plan.by_id and plan.by_id[name].compensated for name in step.body)


def _limits(step: PlanStep) -> list[dict[str, Json]]:
    return [] if step.dynamic_limits else limits_to_json(step.limits)


def limits_to_json(limits: Iterable[Limit]) -> list[dict[str, Json]]:
    """As the scripts read them."""
    return [
        {name: value for name in Limit.__slots__ if (value := getattr(limit, name)) is not None} for limit in limits
    ]


def _dump(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
