"""Takes out the joins that nobody needs as a node of its own."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.workflow.plan import PlanStep


def inline_joins(steps: list[PlanStep]) -> list[PlanStep]:
    """Take out joins that at most one step needs, where its `run_if` does not ask how the join ended.

    A join with several followers stays: without it every tail would be linked with every head.
    """
    by_id = {step.id: step for step in steps}
    followers: dict[str, list[str]] = {step.id: [] for step in steps}
    for step in steps:
        for need in step.needs:
            followers[need].append(step.id)
    removed: dict[str, tuple[str, ...]] = {}
    for step in steps:
        after = [by_id[name] for name in followers[step.id]]
        plain = all(follower.run_if in ("none_failed", "all_done", "always") for follower in after)
        counted = step.enough is not None or any(f.kind == "join" for f in after)
        if step.kind == "join" and len(after) <= 1 and plain and not counted:
            removed[step.id] = step.needs
    return [_without(step, removed) for step in steps if step.id not in removed]


def _without(step: PlanStep, removed: dict[str, tuple[str, ...]]) -> PlanStep:
    needs = list(step.needs)
    while any(need in removed for need in needs):
        needs = [deeper for need in needs for deeper in removed.get(need, (need,))]
    body = tuple(name for name in step.body if name not in removed)
    return replace(step, needs=tuple(dict.fromkeys(needs)), body=body)
