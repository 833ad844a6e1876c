"""What a run decides without an agent: `when`, `set`, gates, opening and collecting a `foreach`, the run's outputs.

Whoever advances the run decides at once; if that process dies, the keeper decides. Deciding twice is harmless: the
values are the same and the store takes the first.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from orchestrator.agents.failures import step_error
from orchestrator.agents.values import encode
from orchestrator.errors import OrchestratorError
from orchestrator.records import Advance, Ready, StepError
from orchestrator.settings import Settings
from orchestrator.states import StepState
from orchestrator.store.directory import Directory
from orchestrator.store.runs import RunStore
from orchestrator.workflow.explain import kind
from orchestrator.workflow.expressions import evaluate_bool, render
from orchestrator.workflow.plan import ForEach, PlanStep

Json = Any
OUTPUTS = "$outputs"
PARKED_MS = 500  # how often a step that waits for a capability looks for an agent


def carry_on(store: RunStore, advance: Advance, settings: Settings) -> tuple[Ready, ...]:
    """Decide everything that can be decided now.

    Returns:
        The steps that wait for a message to their agent, in the order they became ready.
    """
    ready = list(advance.ready)
    todo = list(advance.decide)
    while todo:
        more = decide(store, advance.run_id, todo.pop(0), settings)
        if more is not None:
            ready.extend(more.ready)
            todo.extend(more.decide)
    return tuple(ready)


def decide(store: RunStore, run_id: str, step_id: str, settings: Settings) -> Advance | None:
    """Take one decision and record it. None: it was taken already."""
    if step_id == OUTPUTS:
        _end(store, run_id, settings)
        return None
    step, record, scope = store.load_decision(run_id, step_id)
    limit_s = settings.max_expression_s
    try:
        if record.get("n") is not None:
            return _collect(store, run_id, step, record, settings)
        if step.when is not None and not evaluate_bool(step.when, scope, limit_s=limit_s):
            return store.skip_step(run_id, step_id, "its when is false")
        if step.kind == "set":
            values = render(step.values, scope, limit_s=limit_s)
            text = encode(values, max_bytes=settings.max_output_bytes, what="the output")
            return store.finish_step(run_id, step_id, 0, text)
        if step.foreach is not None:
            items = foreach_items(step.foreach, scope, settings)
            return store.open_foreach(run_id, step_id, items, step.foreach.max_parallel)
        if step.kind == "gate":
            return store.finish_step(run_id, step_id, 0, None)
        return _choose_agent(store, run_id, step, settings) if step.capability else store.admit_step(run_id, step_id)
    except OrchestratorError as error:
        return store.fail_step(run_id, step_id, 0, step_error(error, step_id), retry_delay_ms=None)


def _choose_agent(store: RunStore, run_id: str, step: PlanStep, settings: Settings) -> Advance | None:
    """Give a step to the least loaded online agent with its capability, or let it wait until there is one."""
    directory = Directory(store.client, store.keys, lease_ms=round(settings.lease_s * 1000))
    agent = directory.least_loaded(str(step.capability), step.task)
    if agent is None:
        reason = f"no agent with capability {step.capability} is online"
        store.park_step(run_id, step.id, again_ms=PARKED_MS, reason=reason)
        return None
    return store.admit_step(run_id, step.id, replace(step, agent=agent))


def foreach_items(foreach: ForEach, scope: dict[str, Json], settings: Settings) -> list[str]:
    """The items of a foreach, each as JSON text. Raises OrchestratorError if they are no list, or too many."""
    items = render(foreach.items, scope, limit_s=settings.max_expression_s)
    if not isinstance(items, list):
        raise OrchestratorError(f"foreach needs a list, and this is {kind(items)}")
    if len(items) > settings.max_foreach_items:
        raise OrchestratorError(f"foreach over {len(items):,} items; the limit is {settings.max_foreach_items:,}")
    return [json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in items]


def _collect(
    store: RunStore, run_id: str, step: PlanStep, record: dict[str, Json], settings: Settings
) -> Advance | None:
    failure = StepError.from_json(record.get("failure"))
    if failure is not None:
        return store.fail_step(run_id, step.id, 0, failure, retry_delay_ms=None)
    assert step.foreach
    outputs = collect_items(store.load_items(run_id, step.id, record["n"]), step.foreach.on_item_error)
    text = encode(outputs, max_bytes=settings.max_output_bytes, what="the list of outputs")
    return store.finish_step(run_id, step.id, 0, text)


def collect_items(items: list[dict[str, Json]], on_item_error: str) -> list[Json]:
    """The output of a foreach: its items' outputs in order. A failed item is left out (`skip`) or stands as
    `{"error": {type, message, ...}}` (`collect`)."""
    outputs = []
    for item in items:
        if item["status"] == StepState.SUCCEEDED:
            outputs.append(item["output"])
        elif on_item_error == "collect":
            outputs.append({"error": item["error"]})
    return outputs


def _end(store: RunStore, run_id: str, settings: Settings) -> None:
    template, reads = store.load_outputs(run_id)
    try:
        values = render(template, store.load_scope(run_id, reads, None), limit_s=settings.max_expression_s)
        text = encode(values, max_bytes=settings.max_output_bytes, what="the outputs of the run")
    except OrchestratorError as error:
        message = StepError(type(error).__name__, f"outputs: {error.message}")
        store.end_run(run_id, error=message)
    else:
        store.end_run(run_id, outputs=text)
