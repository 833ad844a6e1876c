"""What the page of one run shows: `run_view`, read anew whenever something has happened to the run.

No output of a step is in it, only its state and what to say of it: `step_page.py` has the rest, of one step at a time.
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator import events
from orchestrator.client import Client
from orchestrator.documents import error_document, event_document, run_summary
from orchestrator.durations import duration
from orchestrator.ids import base_of
from orchestrator.records import Event, RunRecord, StepRecord, rfc3339
from orchestrator.states import RunState, StepState
from orchestrator.store.connection import server_now_ms
from orchestrator.store.rows import in_order
from orchestrator.web.graph import picture
from orchestrator.web.sentences import Why, moment
from orchestrator.web.timeline import bars
from orchestrator.web.units import took, unit_of, units
from orchestrator.workflow.plan import Plan
from orchestrator.workflow.template import shorten

Json = Any
MOST_ITEMS = 100  # rows of the items of one foreach, and of each step inside one
MOST_ROWS = 2000
MOST_EVENTS = 200  # in the list of events; the timeline is made of more
MOST_SAID = 300  # characters beside an event
HISTORY = 20_000  # events that the timeline looks at; 0.3 s
EVENT_NAMES = sorted(
    text for name, text in vars(events).items() if name.startswith(("RUN_", "STEP_")) and isinstance(text, str)
)
_URGENT = (StepState.FAILED, StepState.RUNNING, StepState.WAITING)


def run_view(client: Client, run_id: str) -> dict[str, Json]:
    """Everything on the page of a run: `run_news`, and `graph`, the picture of its plan, which never changes.

    Raises:
        RunNotFound. StoreUnavailable.
    """
    news = run_news(client, run_id)
    with client.asking():
        return news | {"graph": picture(client.store.read_plan(run_id))}


def run_news(client: Client, run_id: str) -> dict[str, Json]:
    """How a run stands, as JSON values; times are milliseconds by the server's clock.

    `units` says how each unit of the graph stands, `rows` each step, `bars` what the timeline draws. `last_event` is
    the entry of the history up to which this is complete. Raises as `run_view`.
    """
    with client.asking():
        store = client.store
        history = store.read_newest_events(run_id, HISTORY)  # before the records, which may be newer but not older
        run, plan, known = store.read_run(run_id), store.read_plan(run_id), store.read_steps(run_id)
        inputs = store.load_run_scope(run_id)["inputs"]
        holders = store.read_holders(run.waits_for) if run.waits_for else []
        now = server_now_ms(store.client)
    steps = in_order(plan, known, run.state)
    waits_for_worker = any(step.state is StepState.PENDING and step.ready_at and step.agent for step in steps)
    online = {agent["name"] for agent in client.agents() if agent["workers"]} if waits_for_worker else set()
    shown, hidden = _choose(steps)
    why = Why(run, plan, known, online, holders)
    return run_summary(run) | {
        "now": now,
        "created": run.created_at,
        "finished": run.finished_at,
        "over": run.state.terminal,
        "took": duration(run.finished_at - run.created_at) if run.finished_at else None,
        "remarks": _remarks(run, holders),
        "error": error_document(run.error),
        "inputs": pretty(inputs),
        "outputs": pretty(run.outputs or {}),
        "units": units(plan, known, run.state),
        "rows": [_row(step, why.about(step), plan) for step in shown],
        "hidden": hidden,
        "bars": bars(history, shown, run.created_at),
        "asks": [_question(step) for step in steps if step.signal],
        "events": [event_row(event) for event in history[-MOST_EVENTS:]],
        "older_events": len(history) > MOST_EVENTS,
        "last_event": history[-1].id if history else "0",
        "event_names": EVENT_NAMES,
        "may": _may(run.state),
    }


def pretty(value: Json) -> str:
    """A value as JSON for people to read."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def embedded(value: Json) -> str:
    """A value as JSON that can stand in a `<script>` of a page: nothing in it can end the script or begin a comment."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _may(state: RunState) -> list[str]:
    """What can be done to a run."""
    if state.terminal:
        return ["rerun"]
    return ["resume" if state is RunState.PAUSED else "pause", "cancel"]


def _remarks(run: RunRecord, holders: list[str]) -> list[dict[str, Json]]:
    """Sentences about the run; `run` is another one that the sentence ends with."""
    found: list[dict[str, Json]] = []
    if run.parent:
        step = f"step {run.parent_step} of " if run.parent_step else ""
        found.append({"text": f"Child of {step}run", "run": run.parent})
    if run.rerun_of:
        found.append({"text": "Repeats run", "run": run.rerun_of})
    if run.waits_for:
        found.append({"text": f"Waits for a place under {run.waits_for}."})
        found += [{"text": "The place is taken by run", "run": holder} for holder in holders[:3]]
    if run.verdict and run.phase not in (None, "main") and not run.state.terminal:
        what = "what it did is being undone" if run.phase == "compensate" else f"now {run.phase} runs"
        found.append({"text": f"The run {'was' if run.verdict == 'cancelled' else 'has'} {run.verdict}; {what}."})
    if run.signals:
        when = "nobody waited for" if run.state.terminal else "nobody waits for yet"
        found.append({"text": f"Signals that {when}: {', '.join(run.signals)}."})
    return found


def _choose(steps: list[StepRecord]) -> tuple[list[StepRecord], int]:
    """The steps that get a row, in order, and how many do not. Of many items those that failed or are under way."""
    groups: dict[str, list[int]] = {}
    for at, step in enumerate(steps):
        if "[" in step.id:
            groups.setdefault(step.id[: step.id.index("[")], []).append(at)
    left_out: set[int] = set()
    for places in groups.values():
        places.sort(key=lambda at: steps[at].state not in _URGENT)
        left_out.update(places[MOST_ITEMS:])
    kept = [step for at, step in enumerate(steps) if at not in left_out]
    if len(kept) > MOST_ROWS:
        order = sorted(range(len(kept)), key=lambda at: kept[at].state not in _URGENT)[:MOST_ROWS]
        kept = [kept[at] for at in sorted(order)]
    return kept, len(steps) - len(kept)


def _row(step: StepRecord, why: str, plan: Plan) -> dict[str, Json]:
    planned = plan.by_id[base_of(step.id)]
    return {
        "id": step.id,
        "unit": unit_of(planned),
        "agent": step.agent or "",
        "kind": planned.kind,
        "state": step.state.value,
        "attempts": step.attempts,
        "started": step.started_at,
        "finished": step.finished_at,
        "took": took(step),
        "why": why,
        "depth": step.id.count("["),
        "child": step.child,
    }


def _question(step: StepRecord) -> dict[str, Json]:
    """What somebody has to approve or to reject."""
    until = moment(step.retry_at) if step.retry_at else ""
    return {"step": step.id, "signal": step.signal, "until": until, "since": rfc3339(step.started_at)}


def event_row(event: Event) -> dict[str, Json]:
    """An event as the API gives it, and in `says` what its data tells people."""
    data = event.data
    if "type" in data:
        says = f"{data['type']}: {data.get('message', '')}"
    else:
        says = str(data["note"]) if "note" in data else ", ".join(f"{name}: {value}" for name, value in data.items())
    return event_document(event) | {
        "data": {name: value for name, value in data.items() if name != "traceback"},
        "says": shorten(says, MOST_SAID),
    }
