"""The JSON documents that commands and the API print; their shape is part of the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.records import Event, MessageRecord, RunRecord, StepError, StepRecord, rfc3339
from orchestrator.states import StepState
from orchestrator.store.schedules import Schedule

Json = Any


def run_document(run: RunRecord, steps: Sequence[StepRecord], outputs: Mapping[str, Json]) -> dict[str, Json]:
    """A run with its steps.

    The document of a `foreach` has `items`, one document for each; that of an item has `steps`, if there are any inside
    it, where again a `foreach` has `items`.

    Args:
        steps: in display order, as `in_order` of the store gives them: a foreach is followed by its items, an item by
            the steps inside it.
        outputs: id -> output.
    """
    shown: dict[str, Json] = {}
    whole = {step.id for step in steps if step.items is not None}
    documents: dict[str, dict[str, Json]] = {}  # by id, as far as the loop below has come
    newest: dict[str, dict[str, Json]] = {}  # `[3]` -> the document of the item that was last among those with this end
    for step in steps:
        base, at, round_ = _parts(step.id)
        document = documents[step.id] = step_document(
            step, outputs.get(step.id, outputs.get(f"{base}.item{at}")), outputs
        )
        outer = at.rpartition("[")[0]
        if at and base + outer in whole:
            documents[base + outer].setdefault("items", []).append(document)
            newest[at] = document
        elif at in newest:
            newest[at].setdefault("steps", {})[base + round_] = document
        else:
            shown[step.id] = document
    return run_summary(run) | {"outputs": run.outputs or {}, "error": error_document(run.error), "steps": shown}


def _parts(step_id: str) -> tuple[str, str, str]:
    """`write[3]~7` is the step `write`, of the item `[3]`, in the round that ended with `~7`."""
    name, tilde, number = step_id.partition("~")
    base, bracket, rest = name.partition("[")
    return base, bracket + rest, tilde + number


def run_summary(run: RunRecord) -> dict[str, Json]:
    """A run without steps, outputs and error.

    Only where set: `parent_run_id` and `parent_step`, that wait for it; `rerun_of`; `waits_for`, the concurrency key
    under which it has no place yet; `unused_signals`; `verdict`, how it will end, and `phase`, what still runs then.
    """
    document: dict[str, Json] = {
        "run_id": run.id,
        "workflow": run.workflow,
        "version": run.version,
        "status": run.state.value,
        "priority": run.priority,
        "created_at": rfc3339(run.created_at),
        "started_at": rfc3339(run.started_at),
        "finished_at": rfc3339(run.finished_at),
    }
    ending = run.phase not in (None, "main") and not run.state.terminal
    extras = {
        "parent_run_id": run.parent, "parent_step": run.parent_step, "rerun_of": run.rerun_of,
        "waits_for": run.waits_for, "unused_signals": list(run.signals) or None,
        "verdict": run.verdict if ending else None, "phase": run.phase if ending else None,
    }  # fmt: skip
    return document | _set(extras)


def step_document(step: StepRecord, output: Json, outputs: Mapping[str, Json] | None = None) -> dict[str, Json]:
    """One step.

    Only where set: `reason` says why it was skipped or waits; `progress` and `note` are what its handler told; `hands`
    are the agents that had it in turn, `rounds` those of a loop so far, `child_run_id` the run that it waits for;
    `waits_for_signal`; `due_at`, when it goes on by itself; `reused`: it was taken over from an earlier run;
    `superseded`: what attempts answered that did not count any more, `{attempt, at, output, error}` each.
    """
    document: dict[str, Json] = {
        "status": step.state.value,
        "agent": step.agent,
        "attempts": step.attempts,
        "started_at": rfc3339(step.started_at),
        "finished_at": rfc3339(step.finished_at),
        "output": output,
        "error": error_document(step.error) if step.state is not StepState.SUCCEEDED else None,
    }
    extras = {
        "hands": list(step.hands) or None, "reason": reason_of(step), "progress": step.progress, "note": step.note,
        "rounds": step.rounds, "child_run_id": step.child, "waits_for_signal": step.signal,
        "due_at": rfc3339(step.retry_at) if step.state is StepState.WAITING else None, "reused": step.reused or None,
        "superseded": [
            {
                "attempt": late.attempt, "at": rfc3339(late.at), "output": (outputs or {}).get(late.key),
                "error": error_document(late.error),
            }
            for late in step.late
        ] or None,
    }  # fmt: skip
    return document | _set(extras)


def reason_of(step: StepRecord) -> str | None:
    """Why it was skipped or waits. A step that was cancelled while it waited waits no more."""
    return step.reason if step.state in (StepState.PENDING, StepState.WAITING, StepState.SKIPPED) else None


def _set(fields: Mapping[str, Json]) -> dict[str, Json]:
    """Those that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def error_document(error: StepError | None) -> dict[str, Json] | None:
    return error.to_json() if error else None


def event_document(event: Event) -> dict[str, Json]:
    """One entry of a run's history."""
    return {
        "id": event.id,
        "at": rfc3339(event.at),
        "name": event.name,
        "step": event.step,
        "attempt": event.attempt,
        "data": event.data,
    }


def schedule_document(schedule: Schedule) -> dict[str, Json]:
    """A schedule: what starts when, and what it has started."""
    return {
        "name": schedule.name,
        "workflow": schedule.workflow,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "overlap": schedule.overlap,
        "catchup": schedule.catchup,
        "inputs": schedule.inputs,
        "next_at": rfc3339(schedule.next_ms),
        "last_at": rfc3339(schedule.last_ms),
        "last_run": schedule.last_run,
        "skipped": schedule.skipped,
    }


def message_document(record: MessageRecord) -> dict[str, Json]:
    """A message with its state and attempts; a handoff is shown by `task_document`.

    An attempt has `superseded`, an outcome, where its answer came too late to count.
    """
    message = record.message
    document: dict[str, Json] = {
        "message_id": message.message_id,
        "status": record.state.value,
        "from_agent": message.from_agent,
        "to_agent": message.to_agent,
        "message_type": str(message.message_type),
        "priority": message.priority.value,
        "body": message.body,
        "correlation_id": message.correlation_id,
        "thread_id": message.thread_id,
        "created_at": rfc3339(message.created_at),
        "delivered_at": rfc3339(record.delivered_at),
        "finished_at": rfc3339(record.finished_at),
        "attempts": [
            {
                "started_at": rfc3339(attempt.started_at),
                "ended_at": rfc3339(attempt.ended_at),
                "worker": attempt.worker,
                "error": error_document(attempt.error),
                **_set({"superseded": attempt.superseded}),
            }
            for attempt in record.attempts
        ],
        "error": error_document(record.error),
        "reply": record.reply,
        "metadata": dict(message.metadata),
        "delivery_options": message.delivery_options.to_json(),
    }
    extras = {
        "due_at": rfc3339(record.due_at), "expires_at": rfc3339(record.expires_at), "reason": record.reason,
        "late": record.late or None, "replayed_as": record.replayed_as, "duplicates_dropped": record.duplicates or None,
    }  # fmt: skip
    return document | _set(extras)


def task_document(record: MessageRecord) -> dict[str, Json]:
    """A handoff: who has it, who had it, and what came of it."""
    offer = record.message.body
    return {
        "task_id": record.message.message_id,
        "task": record.task,
        "status": record.handoff.value if record.handoff else record.state.value,
        "from_agent": record.message.from_agent,
        "to_agent": record.message.to_agent,
        "owner": record.owner,
        "previous_owner": record.previous_owner,
        "priority": record.message.priority.value,
        "with": offer.get("with", {}),
        "context": offer.get("context", {}),
        "created_at": rfc3339(record.message.created_at),
        "finished_at": rfc3339(record.finished_at),
        "custody": [
            {"at": rfc3339(link.at), "status": link.state, "owner": link.owner, "reason": link.reason}
            for link in record.custody
        ],
        "attempts": message_document(record)["attempts"],
        "output": record.result,
        "result": record.result,
        "error": error_document(record.error),
    }
