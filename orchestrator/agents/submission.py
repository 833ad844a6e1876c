"""From a plan and its inputs to a run: keys are evaluated, limits kept, what an earlier run has done is taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from orchestrator.agents.values import encode
from orchestrator.errors import (
    ExpressionError,
    HandlerOutputInvalid,
    LimitExceeded,
    OrchestratorError,
    Problem,
    RunRefused,
    WorkflowInvalid,
)
from orchestrator.ids import new_id
from orchestrator.names import WORD_RULE, is_word
from orchestrator.records import Advance, Order
from orchestrator.settings import Settings
from orchestrator.store.runs import RunStore
from orchestrator.workflow.expressions import render
from orchestrator.workflow.filling import as_text
from orchestrator.workflow.inputs import check_inputs
from orchestrator.workflow.plan import Plan
from orchestrator.workflow.segments import dispatch_table

Json = Any
_MAX_KEY = 200  # characters of a key of the store that a user's expression makes


def order_run(
    plan: Plan,
    inputs: Mapping[str, Json],
    settings: Settings,
    *,
    run_id: str | None = None,
    priority: str | None = None,
    idempotency_key: str | None = None,
    parent: tuple[str, str] | None = None,
) -> Order:
    """The run to create.

    Args:
        idempotency_key: instead of the file's.
        parent: the run and the step that wait for it. The file's idempotency key is then left out: the step is it.
    Raises:
        WorkflowInvalid: every input that does not fit, or a key that cannot be evaluated.
    """
    if idempotency_key is not None and not is_word(idempotency_key):
        raise WorkflowInvalid([Problem(plan.name, 0, "idempotency_key", WORD_RULE)])
    values = check_inputs(plan, dict(inputs))
    policies = plan.policies
    ttl_ms = settings.idempotency_ttl_s * 1000
    if idempotency_key is None and policies.idempotency_key is not None and parent is None:
        # The file's keys are the workflow's own; one given by hand is not bound to a workflow.
        idempotency_key = f"{plan.name}:{_key(plan, 'idempotency', policies.idempotency_key, values)}"
        ttl_ms = policies.idempotency_ttl_ms
    slot = None
    if policies.concurrency_key is not None:
        slot = f"{plan.name}:{_key(plan, 'concurrency', policies.concurrency_key, values)}"
    return Order(
        run_id=run_id or new_id(),
        plan=plan,
        inputs=_encode_inputs(values, settings),
        dispatch=partial(dispatch_table, window=settings.window, chord_width=settings.chord_width),
        priority=priority or plan.priority,
        retention_ms=settings.retention_s * 1000,
        idempotency_key=idempotency_key,
        idempotency_ttl_ms=ttl_ms,
        slot=slot,
        max_runs=policies.max_runs,
        on_limit=policies.on_limit,
        parent=parent,
    )


def launch(store: RunStore, order: Order) -> tuple[str, Advance | None]:
    """Create the run. None: there was one with its idempotency key, whose id is returned.

    Raises:
        RunRefused: the file says that a duplicate, or a run too many, is refused.
    """
    return _launched(order, store.create_run(order))


def launch_all(store: RunStore, orders: Sequence[Order]) -> list[tuple[str, Advance | None] | OrchestratorError]:
    """What `launch` returns or raises, for each: one round trip for all of them."""
    found: list[tuple[str, Advance | None] | OrchestratorError] = []
    for order, created in zip(orders, store.create_runs(orders), strict=True):
        try:
            found.append(created if isinstance(created, OrchestratorError) else _launched(order, created))
        except RunRefused as error:
            found.append(error)
    return found


def _launched(order: Order, created: tuple[str, Advance | None]) -> tuple[str, Advance | None]:
    run_id, advance = created
    policies = order.plan.policies
    if advance is None and policies.reject_duplicate and run_id != order.run_id:
        raise RunRefused(f"run {run_id} has the same idempotency key {order.idempotency_key!r}", run_id=run_id)
    if advance is not None and advance.holders and order.on_limit == "cancel_oldest":
        return run_id, replace(advance, elsewhere=tuple((holder, "$cancel") for holder in advance.holders))
    return run_id, advance


def _key(plan: Plan, what: str, template: str, values: dict[str, Json]) -> str:
    try:
        found = render(template, {"inputs": values})
    except ExpressionError as error:
        raise WorkflowInvalid([Problem(plan.name, 0, f"{what}.key", error.message)]) from None
    text = as_text(found)
    if not 0 < len(text) <= _MAX_KEY:
        message = f"the key has {len(text)} characters; it must have 1 to {_MAX_KEY}"
        raise WorkflowInvalid([Problem(plan.name, 0, f"{what}.key", message)])
    return text


def _encode_inputs(values: dict[str, Json], settings: Settings) -> dict[str, str]:
    """name -> JSON text. All of them together keep to `max_inputs_bytes`."""
    most = settings.max_inputs_bytes
    try:
        texts = {name: encode(value, max_bytes=most, what="the value") for name, value in values.items()}
        size = sum(len(text.encode()) for text in texts.values())
        if size > most:
            raise LimitExceeded(f"all inputs together are {size:,} bytes as JSON; the limit is {most:,}")
    except (HandlerOutputInvalid, LimitExceeded) as error:
        raise WorkflowInvalid([Problem("inputs", 0, "", error.message)]) from None
    return texts
