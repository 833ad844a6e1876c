"""The JSON documents that commands and the API print; their shape is part of the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.records import MessageRecord, RunRecord, StepError, StepRecord, rfc3339
from orchestrator.states import StepState

Json = Any


def run_document(run: RunRecord, steps: Sequence[StepRecord], outputs: Mapping[str, Json]) -> dict[str, Json]:
    """A run with its steps.

    Args:
        steps: the plan's steps in order, each followed by the items of a foreach (`x[0]`), if it has any.
        outputs: step id -> output.
    """
    shown: dict[str, dict[str, Json]] = {}
    for step in steps:
        base, bracket, _ = step.id.partition("[")
        document = step_document(step, outputs.get(step.id))
        if bracket:
            shown[base].setdefault("items", []).append(document)
        else:
            shown[step.id] = document
    return run_summary(run) | {"outputs": run.outputs or {}, "error": error_document(run.error), "steps": shown}


def run_summary(run: RunRecord) -> dict[str, Json]:
    """A run without steps, outputs and error."""
    return {
        "run_id": run.id,
        "workflow": run.workflow,
        "version": run.version,
        "status": run.state.value,
        "priority": run.priority,
        "created_at": rfc3339(run.created_at),
        "started_at": rfc3339(run.started_at),
        "finished_at": rfc3339(run.finished_at),
    }


def step_document(step: StepRecord, output: Json) -> dict[str, Json]:
    """One step.

    `hands` are the agents that had it in turn; `reason` says why it was skipped or waits, `progress` and `note` what
    its handler told.
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
    extras = {"hands": list(step.hands) or None, "reason": step.reason, "progress": step.progress, "note": step.note}
    return document | {name: value for name, value in extras.items() if value is not None}


def error_document(error: StepError | None) -> dict[str, Json] | None:
    return error.to_json() if error else None


def message_document(record: MessageRecord) -> dict[str, Json]:
    """A message with its state and attempts; a handoff is shown by `task_document`."""
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
        "late": record.late or None, "replayed_as": record.replayed_as,
    }  # fmt: skip
    return document | {name: value for name, value in extras.items() if value is not None}


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
