"""From ready steps to Celery's canvas: windows become chains, fans become chords, the rest goes out as a group.

Every signature is immutable and carries ids only; each has its own queue, priority and stable task id, because
Celery hands neither queue nor priority down a canvas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from celery import Celery, Signature, chain, chord

from orchestrator.ids import base_of
from orchestrator.records import Ready
from orchestrator.runtime.broker import hand_over
from orchestrator.store.envelopes import GRACE_S
from orchestrator.store.routing import RUN_STEP, priority_number, queue_of, task_id_of

Json = Any


def dispatch(app: Celery, run_id: str, ready: Iterable[Ready], *, priority: str) -> None:
    """Publish ready steps, each with the piece of canvas that starts with it.

    When the broker is away, the keeper sends the steps later. In a task this raises one of BROKER_AWAY.

    Args:
        priority: the run's; a step's own goes before it.
    """
    canvases = list(lower(app, run_id, list(ready), priority=priority))

    def publish() -> None:
        with app.producer_pool.acquire(block=True) as producer:
            for canvas in canvases:
                canvas.apply_async(producer=producer)

    if canvases:
        hand_over(app, f"steps of run {run_id}", publish)


def lower(app: Celery, run_id: str, ready: list[Ready], *, priority: str) -> Iterator[Signature]:
    """The canvases for ready steps: a chord where all heads of a fan are ready at once, chains, single signatures."""
    fans: dict[str, list[Ready]] = {}
    for step in ready:
        fan = step.segment.get("fan")
        if fan is not None:
            fans.setdefault(fan["id"] + _numbers(step.step_id), []).append(step)
    for heads in fans.values():
        fan = heads[0].segment["fan"]
        if len(heads) == fan["width"]:
            header = [_chain(app, run_id, head, priority) for head in heads]
            body_id, *rest = fan["body"]
            body = [body_id + _numbers(heads[0].step_id), *rest]
            yield chord(header, _signature(app, run_id, body, priority), app=app)
        else:
            # Some heads came earlier or wait for a retry: the store's counter alone joins them.
            yield from (_chain(app, run_id, head, priority) for head in heads)
    yield from (_chain(app, run_id, step, priority) for step in ready if step.segment.get("fan") is None)


def carried_step(request: Any) -> str | None:
    """The id of the step that the message at hand brings next by its chain, if any."""
    rest = request.chain
    return str(rest[-1]["args"][1]) if rest else None


def joined_step(request: Any) -> str | None:
    """The id of the step that is the body of the chord which the message at hand belongs to, if any."""
    body = request.chord
    return str(body["args"][1]) if body else None


def _chain(app: Celery, run_id: str, step: Ready, priority: str) -> Signature:
    sigs = step.segment["chain"]
    numbers = _numbers(step.step_id)
    if numbers and step.step_id != sigs[0][0]:  # an item of a foreach: the same signatures under the item's ids
        sigs = [[step_id + numbers, *rest] for step_id, *rest in sigs]
    signatures = [_signature(app, run_id, sig, priority) for sig in sigs]
    return signatures[0] if len(signatures) == 1 else chain(*signatures, app=app)


def _numbers(step_id: str) -> str:
    """What follows the plan's id of a step: `[3]` for an item."""
    return step_id[len(base_of(step_id)) :]


def _signature(app: Celery, run_id: str, sig: list[Json], priority: str) -> Signature:
    step_id, agent, task, own_priority, timeout_ms = sig
    options: dict[str, Any] = {
        "queue": queue_of(agent, app.engine.settings.prefix),
        "priority": priority_number(own_priority or priority, app.conf.broker_url),
        "task_id": task_id_of(run_id, step_id),
        "shadow": f"{agent}.{task}",
    }
    if timeout_ms is not None:
        options |= {"soft_time_limit": timeout_ms / 1000, "time_limit": timeout_ms / 1000 + GRACE_S}
    return Signature(RUN_STEP, args=(run_id, step_id), app=app, immutable=True, options=options)
