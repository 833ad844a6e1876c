"""The list of runs: what a run's record is made of, and how many of them are read at once. It knows no steps."""

from __future__ import annotations

import json
from collections.abc import Sequence

from orchestrator.ids import visible_id
from orchestrator.records import RunRecord, StepError
from orchestrator.states import RunState
from orchestrator.store.keys import Keys
from orchestrator.store.scripts import Scripts

PAGE = 500  # runs looked at by one script: 3 ms in which nobody else is served

# What `run_record` gets; list_runs.lua relies on the first two. Not the outputs: those of many runs are megabytes.
RUN_FIELDS = (
    "state", "workflow", "version", "plan", "priority", "created_at", "started_at", "finished_at", "error",
    "parent", "parent_step", "rerun_of", "queued", "slot", "signals", "verdict", "phase",
)  # fmt: skip


def list_runs(
    scripts: Scripts, keys: Keys, *, state: RunState | None, workflow: str | None, limit: int
) -> list[RunRecord]:
    """The newest runs first, without their outputs, of this state and this workflow.

    Script: list_runs.lua, one round trip for each 500 runs that are looked at; O(runs looked at).
    """
    found: dict[str, RunRecord] = {}  # by id: what is submitted meanwhile moves the pages on
    start, more = 0, True
    while more and len(found) < limit:
        page = PAGE if state or workflow else min(PAGE, limit - len(found))
        args = [keys.run(""), start, page, state or "", workflow or "", *RUN_FIELDS]
        looked_at, more, *rows = scripts.ask("list_runs", [keys.runs], args)
        start += looked_at
        for run_id, fields in zip(rows[::2], rows[1::2], strict=True):
            found[run_id] = run_record(run_id, fields)
    return list(found.values())[:limit]


def run_record(run_id: str, fields: Sequence[str | None]) -> RunRecord:
    """A run without its outputs, from its `RUN_FIELDS` as they are stored."""
    state, workflow, version, plan, priority, created, started, finished, error, *more = fields
    parent, parent_step, rerun_of, queued, slot, signals, verdict, phase = more
    return RunRecord(
        id=run_id,
        workflow=workflow or "",
        version=version or "",
        plan_hash=plan or "",
        state=RunState(state or "pending"),
        priority=priority or "medium",
        created_at=int(created or 0),
        started_at=int(started) if started else None,
        finished_at=int(finished) if finished else None,
        error=StepError.from_json(json.loads(error)) if error else None,
        parent=parent,
        parent_step=visible_id(parent_step) if parent_step else None,
        rerun_of=rerun_of,
        waits_for=slot if queued else None,
        signals=tuple(json.loads(signals)) if signals else (),
        verdict=verdict,
        phase=phase,
    )
