"""What the keeper does when a schedule is due: one run for each due time, however often and by whomever it is tried."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import islice

from orchestrator.agents.run_spans import RunSpan
from orchestrator.agents.submission import launch, order_run
from orchestrator.errors import OrchestratorError, RunRefused
from orchestrator.records import Advance
from orchestrator.runtime.engine import Engine
from orchestrator.store.schedules import Schedule, Schedules, started
from orchestrator.workflow.cron import due_times, last_due

log = logging.getLogger(__name__)

LATE_MS = 60_000  # what is due for longer than this was missed, and `catchup` says what becomes of it
AT_ONCE = 100  # due times that one look makes up for
_REMEMBER_MS = 30 * 86_400_000  # how long a due time keeps its run: far longer than any look is late


def fire(engine: Engine, name: str) -> list[Advance]:
    """Start what is due of a schedule.

    The idempotency key of a run is the schedule and the due time. So a keeper that is killed before it has noted what
    it started, and two keepers at once, start one run.
    """
    schedules = Schedules(engine.client, engine.keys)
    schedule = schedules.read(name)
    now = schedules.now_ms()
    if schedule is None or schedule.next_ms is None or schedule.next_ms > now:
        return []
    advances = []
    after = schedule
    dues = which_due(schedule, now)
    for due in dues:
        run_id, advance = _start(engine, schedule, due)
        after = started(after, at_ms=due, run_id=run_id, next_ms=None)
        if advance is not None:
            advances.append(advance)
    behind = dues[-1] if schedule.catchup == "all" and dues else now
    next_ms = next(due_times(schedule.cron, schedule.timezone, behind), None)
    schedules.moved_on(schedule, replace(after, next_ms=next_ms))
    return advances


def which_due(schedule: Schedule, now: int) -> list[int]:
    """The due times up to now for which a run starts, by `catchup`; at most `AT_ONCE`."""
    assert schedule.next_ms is not None
    if schedule.catchup == "all":
        found = due_times(schedule.cron, schedule.timezone, schedule.next_ms - 1)
        return [due for due in islice(found, AT_ONCE) if due <= now]
    latest = last_due(schedule.cron, schedule.timezone, now)
    if schedule.catchup == "none" and now - latest > LATE_MS:
        return []
    return [latest]


def _start(engine: Engine, schedule: Schedule, due: int) -> tuple[str | None, Advance | None]:
    plan = engine.store.load_plan(schedule.plan)
    if plan is None:
        log.error("schedule %s: its definition is gone; set it up again", schedule.name)
        return None, None
    try:
        order = order_run(plan, schedule.inputs, engine.settings, idempotency_key=f"schedule:{schedule.name}:{due}")
        order = replace(order, idempotency_ttl_ms=_REMEMBER_MS)
        if schedule.overlap != "allow":
            on_limit = "reject" if schedule.overlap == "skip" else "queue"
            order = replace(order, slot=f"schedule:{schedule.name}", max_runs=1, on_limit=on_limit)
        with RunSpan(engine.settings, order) as span:
            run_id, advance = launch(engine.store, span.order)
            span.accepted(run_id)
            return run_id, advance
    except RunRefused as refused:
        log.info("schedule %s: skipped, %s", schedule.name, refused.message)
    except OrchestratorError as error:
        log.error("schedule %s: %s", schedule.name, error.message)
    return None, None
