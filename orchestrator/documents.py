"""The JSON documents that commands and the API print; their shape is part of the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.records import RunRecord, StepError, StepRecord, rfc3339
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
    """One step; `reason` says why it was skipped, `progress` and `note` what its handler told."""
    document: dict[str, Json] = {
        "status": step.state.value,
        "agent": step.agent,
        "attempts": step.attempts,
        "started_at": rfc3339(step.started_at),
        "finished_at": rfc3339(step.finished_at),
        "output": output,
        "error": error_document(step.error) if step.state is not StepState.SUCCEEDED else None,
    }
    extras = {"reason": step.reason, "progress": step.progress, "note": step.note}
    return document | {name: value for name, value in extras.items() if value is not None}


def error_document(error: StepError | None) -> dict[str, Json] | None:
    return error.to_json() if error else None
