"""The names of what happens to a run. The store writes them, in the same script as the change they tell of."""

from __future__ import annotations

RUN_CREATED = "run.created"
RUN_STARTED = "run.started"
RUN_QUEUED = "run.queued"
RUN_PAUSED = "run.paused"
RUN_RESUMED = "run.resumed"
RUN_SIGNALLED = "run.signalled"
RUN_UNUSED_SIGNALS = "run.unused_signals"
RUN_SUCCEEDED = "run.succeeded"
RUN_FAILED = "run.failed"
RUN_CANCELLED = "run.cancelled"

STEP_READY = "step.ready"
STEP_STARTED = "step.started"
STEP_PROGRESS = "step.progress"
STEP_SUCCEEDED = "step.succeeded"
STEP_FAILED = "step.failed"
STEP_RETRYING = "step.retrying"
STEP_WAITING = "step.waiting"
STEP_LIMITED = "step.limited"
STEP_ROUND = "step.round"
STEP_FELL_BACK = "step.fell_back"
STEP_SKIPPED = "step.skipped"
STEP_CANCELLED = "step.cancelled"
STEP_LOST = "step.lost"
STEP_PARKED = "step.parked"
STEP_SUPERSEDED = "step.superseded"
STEP_HANDED_OFF = "step.handed_off"

RUN_ENDS = frozenset({RUN_SUCCEEDED, RUN_FAILED, RUN_CANCELLED})
