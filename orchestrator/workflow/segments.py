"""Cuts a plan into the two pieces of canvas that are sent: windows (flat chains) and fans (chords of windows).

Both are of bounded size, so the bytes of a step do not grow with the workflow. What fits neither form goes out step by
step; the store's counters join it. Figures: docs/decisions/0001-windows-and-chords.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.workflow.plan import Plan, PlanStep

Json = Any


@dataclass(frozen=True, slots=True)
class Window:
    """Steps that follow one another, with one way in and one way out; sent as one chain."""

    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fan:
    """Windows that start together and end in one step, the body; sent as one chord."""

    id: str
    header: tuple[Window, ...]
    body: str


Segment = Window | Fan


def segments(plan: Plan, *, window: int = 4, chord_width: int = 100) -> tuple[Segment, ...]:
    """The pieces of the plan, in its order.

    Args:
        window: steps in one chain at most; >= 1.
        chord_width: windows in one chord at most; wider fans go out as single chains.
    """
    windows = {found.steps[0]: found for found in _windows(plan, window)}
    fans = {fan.header[0].steps[0]: fan for fan in _fans(plan, windows, chord_width)}
    inside = {head.steps[0] for fan in fans.values() for head in fan.header}
    return tuple(
        fans.get(step.id) or windows[step.id]
        for step in plan.steps
        if step.id in fans or (step.id in windows and step.id not in inside)
    )


def dispatch_table(plan: Plan, *, window: int = 4, chord_width: int = 100) -> dict[str, Json]:
    """What is sent when a step is ready, for each step that goes straight to its agent.

    Returns:
        step id -> `{"chain": [sig, ...], "fan": {"id", "width", "body": sig}}`, `sig` being
        `[step_id, agent, task, priority | None, timeout_ms | None]`. The chain of a step inside a window is the rest
        of the window, so that a retry can start there; `fan` stands only at the heads of a fan.
    """
    table: dict[str, Json] = {}
    for segment in segments(plan, window=window, chord_width=chord_width):
        for piece in segment.header if isinstance(segment, Fan) else (segment,):
            sigs = [_sig(plan.by_id[step_id]) for step_id in piece.steps]
            for at, step_id in enumerate(piece.steps):
                table[step_id] = {"chain": sigs[at:]}
            if isinstance(segment, Fan):
                fan = {"id": segment.id, "width": len(segment.header), "body": _sig(plan.by_id[segment.body])}
                table[piece.steps[0]]["fan"] = fan
    return table


def _windows(plan: Plan, length: int) -> Iterator[Window]:
    taken: set[str] = set()
    for step in plan.steps:
        if not step.dispatched or step.id in taken:
            continue
        steps = [step]
        while len(steps) < length and (follower := _only_follower(plan, steps[-1])) is not None:
            steps.append(follower)
        taken.update(found.id for found in steps)
        yield Window(tuple(found.id for found in steps))


def _only_follower(plan: Plan, step: PlanStep) -> PlanStep | None:
    if len(step.next) != 1:
        return None
    follower = plan.by_id[step.next[0]]
    return follower if follower.dispatched and follower.needs == (step.id,) else None


def _fans(plan: Plan, windows: dict[str, Window], width: int) -> Iterator[Fan]:
    by_tail = {found.steps[-1]: found for found in windows.values()}
    for body in plan.steps:
        if not body.dispatched or not 2 <= len(body.needs) <= width:
            continue
        header = [by_tail.get(need) for need in body.needs]
        heads = [plan.by_id[found.steps[0]] for found in header if found is not None]
        closed = len(heads) == len(header) and all(plan.by_id[need].next == (body.id,) for need in body.needs)
        if closed and len({head.needs for head in heads}) == 1:
            yield Fan(f"fan-{body.id}", tuple(found for found in header if found is not None), body.id)


def _sig(step: PlanStep) -> list[Json]:
    return [step.id, step.agent, step.task, step.priority, step.timeout_ms]
