"""The list of runs: what a run's record is made of, and how many of them are read at once. It knows no steps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import MessageInvalid
from orchestrator.ids import visible_id
from orchestrator.records import RunRecord, StepError
from orchestrator.states import RunState
from orchestrator.store.keys import Keys
from orchestrator.store.scripts import Scripts

PAGE = 500  # runs looked at by one script: 3 ms in which nobody else is served
LOOKED_AT = 20_000  # runs looked at for one page, so that a search for what there is not ends, too
_PLACE = re.compile(r"(?P<made_at>[0-9]{1,15})-(?P<run>\S{1,128})")  # of the last run of a page

# What `run_record` gets; list_runs.lua relies on the first two. Not the outputs: those of many runs are megabytes.
RUN_FIELDS = (
    "state", "workflow", "version", "plan", "priority", "created_at", "started_at", "finished_at", "error",
    "parent", "parent_step", "rerun_of", "queued", "slot", "signals", "verdict", "phase", "open",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some of the runs, the newest first.

    `next` is the place behind them, for the page that follows; None: nothing is left. `progress` is the share of a
    run's steps that are done, from 0 to 1, of those that have come so far and no further.
    """

    runs: tuple[RunRecord, ...]
    next: str | None
    progress: Mapping[str, float]


def page_of_runs(
    client: Any, keys: Keys, *, state: RunState | None, workflow: str | None, text: str, after: str | None, limit: int
) -> RunPage:
    """At most `limit` runs behind a place, without their outputs.

    Args:
        text: what the id starts with or the name of the workflow contains; nothing: any.
        after: `next` of the page before, which names the last run of it, and its time in case it is gone meanwhile.
    Raises:
        MessageInvalid: that is no place.
    Script: list_runs.lua, one round trip for each 500 runs that are looked at, and another where some are found by
        their text; O(runs looked at).
    """
    scripts, place = Scripts(client), _place_behind(client, keys, after)
    wanted = ("state", "workflow") if text else RUN_FIELDS
    page = PAGE if state or workflow or text else min(PAGE, limit + 1)  # one more tells whether there is more
    found: dict[str, RunRecord] = {}
    end, more = place + LOOKED_AT, True
    while more and len(found) <= limit and place < end:
        args = [keys.run(""), place, page, state or "", workflow or "", *wanted]
        looked_at, more, *rows = scripts.ask("list_runs", [keys.runs], args)
        place += looked_at
        some: Iterable[Any] = zip(rows[::2], rows[1::2], strict=True)
        if text:
            some = _records(client, keys, [run_id for run_id, fields in some if _matches(text, run_id, fields[1])])
        found |= {run_id: run_record(run_id, fields) for run_id, fields in some}
    runs = tuple(found.values())[:limit]
    behind: str | None = None
    if len(found) > limit:
        behind = f"{runs[-1].created_at}-{runs[-1].id}"
    elif more:  # it has looked at enough
        last, *older = client.zrevrange(keys.runs, place - 1, place, withscores=True) or [None]
        behind = f"{last[1]:.0f}-{last[0]}" if older else None
    return RunPage(runs, behind, _progress(client, keys, runs))


def _place_behind(client: Any, keys: Keys, after: str | None) -> int:
    """How many runs are newer than the one a page begins behind, itself included."""
    if after is None:
        return 0
    found = _PLACE.fullmatch(after)
    if found is None:
        raise MessageInvalid(f"{after[:40]!r} is no place in the list; take `next` of a page", field="after")
    place = client.zrevrank(keys.runs, found["run"])
    return int(client.zcount(keys.runs, f"({found['made_at']}", "+inf")) if place is None else int(place) + 1


def _matches(text: str, run_id: str, workflow: str | None) -> bool:
    return run_id.startswith(text.lower()) or text.lower() in (workflow or "").lower()


def _records(client: Any, keys: Keys, run_ids: Sequence[str]) -> Iterable[tuple[str, list[str | None]]]:
    if not run_ids:
        return []
    with client.pipeline(transaction=False) as pipe:
        for run_id in run_ids:
            pipe.hmget(keys.run(run_id), *RUN_FIELDS)
        return [(run_id, fields) for run_id, fields in zip(run_ids, pipe.execute(), strict=True) if fields[0]]


def _progress(client: Any, keys: Keys, runs: Iterable[RunRecord]) -> dict[str, float]:
    """Run id -> the share of its steps that are done. While it ends in another way than well, there is none."""
    moving = [run for run in runs if not run.state.terminal and run.phase in (None, "main")]
    plans = list({run.plan_hash for run in moving})
    with client.pipeline(transaction=False) as pipe:
        for plan in plans:
            pipe.hget(keys.plan(plan), "$count")
        counts = dict(zip(plans, (int(count or 0) for count in pipe.execute()), strict=True))
    return {
        run.id: min(1.0, max(0.0, 1 - (run.steps_open or 0) / counts[run.plan_hash]))
        for run in moving if counts[run.plan_hash]
    } | {run.id: 1.0 for run in runs if run.state is RunState.SUCCEEDED}  # fmt: skip


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
    parent, parent_step, rerun_of, queued, slot, signals, verdict, phase, left = more
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
        steps_open=int(left) if left else None,
    )
