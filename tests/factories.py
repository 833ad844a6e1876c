"""Plans and steps for tests: each call states only what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.workflow.plan import ForEach, Plan, PlanStep


def task(step_id: str, *needs: str, **fields: Any) -> PlanStep:
    return PlanStep(step_id, "task", needs=needs, **{"agent": "writer", "task": "draft", **fields})


def foreach(step_id: str, *needs: str, items: Any = (1, 2, 3), **fields: Any) -> PlanStep:
    fan = {name: fields.pop(name) for name in ("max_parallel", "on_item_error") if name in fields}
    body = {"agent": "writer", "task": "draft", **fields}
    return PlanStep(step_id, "foreach", needs=needs, foreach=ForEach(list(items), **fan), **body)


def plan(*steps: PlanStep, **fields: Any) -> Plan:
    """A plan of these steps; who follows whom is worked out."""
    followers = {step.id: tuple(other.id for other in steps if step.id in other.needs) for step in steps}
    linked = tuple(replace(step, next=followers[step.id]) for step in steps)
    return Plan(**{"name": "test", "version": "1", "steps": linked, **fields})
