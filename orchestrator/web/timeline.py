"""The bars of a run's timeline, from its events: how long each step was queued, ran, and waited. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator import events
from orchestrator.ids import visible_id
from orchestrator.records import Event, StepRecord
from orchestrator.states import StepState

Json = Any
#: What a step does after an event. None tells that a step became ready.
_BEGINS = {
    events.STEP_STARTED: "run",
    events.STEP_RETRYING: "retry",
    events.STEP_WAITING: "wait",
    events.STEP_LIMITED: "wait",
    events.STEP_PARKED: "wait",
    events.STEP_LOST: "queue",
    events.STEP_HANDED_OFF: "queue",
    events.STEP_FELL_BACK: "queue",
}
#: How an attempt ended that an event ends.
_OUTCOMES = {
    events.STEP_SUCCEEDED: "succeeded",
    events.STEP_FAILED: "failed",
    events.STEP_RETRYING: "failed",
    events.STEP_FELL_BACK: "failed",
    events.STEP_LOST: "lost",
    events.STEP_CANCELLED: "cancelled",
    events.STEP_SKIPPED: "skipped",
    events.STEP_HANDED_OFF: "handed off",
}


def bars(history: Iterable[Event], shown: Iterable[StepRecord], start_ms: int) -> dict[str, list[list[Json]]]:
    """step -> `[kind, from, to, outcome]`, in order, for the steps that are shown.

    Kinds: `queue`, `run`, `retry` (until the next attempt), `wait`. Times are milliseconds after `start_ms`; the last
    bar of a step that is not over ends with None. What ran has an outcome. When a step became ready, only its record
    says, of its last attempt.
    """
    records = {record.id: record for record in shown}
    found: dict[str, list[list[Json]]] = {}
    for event in history:
        if event.step is None or (name := visible_id(event.step)) not in records:
            continue
        begins, outcome = _BEGINS.get(event.name), _OUTCOMES.get(event.name)
        if begins or outcome:
            own = found.setdefault(name, [])
            _close(own, event.at - start_ms, outcome)
            if begins:
                own.append([begins, event.at - start_ms, None, None])
    for name, record in records.items():
        if record.ready_at is not None and not record.reused:
            _queue(found.setdefault(name, []), record, record.ready_at - start_ms)
    return {name: own for name, own in found.items() if own}


def _close(own: list[list[Json]], at: int, outcome: str | None = None) -> None:
    if own and own[-1][2] is None:
        own[-1][2:] = [at, outcome if own[-1][0] == "run" else None]


def _queue(own: list[list[Json]], record: StepRecord, ready: int) -> None:
    """Put in how long the last attempt was queued, which cuts off the end of the wait before it."""
    if record.state is StepState.PENDING:
        if not own or own[-1][0] != "queue":
            _close(own, ready)
            own.append(["queue", ready, None, None])
        return
    last = max((at for at, bar in enumerate(own) if bar[0] == "run"), default=None)
    if last is None or (last > 0 and own[last - 1][0] == "queue") or ready >= own[last][1]:
        return
    if last > 0:
        own[last - 1][2] = ready
    own.insert(last, ["queue", ready, own[last][1], None])
