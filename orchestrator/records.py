"""What the store keeps and gives back, as frozen values. Unknown fields (of a newer version) are ignored.

Times are milliseconds since the epoch, UTC, by the server's clock; `rfc3339` is the form people and programs see.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.states import RunState, StepState

Json = Any


@dataclass(frozen=True, slots=True)
class StepError:
    """Why a step, or a run, failed. `traceback` is for logs and `--json` only."""

    type: str
    message: str
    step: str | None = None
    attempt: int | None = None
    traceback: str | None = None

    def to_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) is not None}

    @classmethod
    def from_json(cls, data: dict[str, Json] | None) -> StepError | None:
        return cls(**{k: v for k, v in data.items() if k in cls.__slots__}) if data else None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of one run (or one item of a `foreach`) as the store knows it."""

    id: str
    state: StepState
    agent: str | None = None
    attempts: int = 0
    ready_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    retry_at: int | None = None
    worker: str | None = None
    error: StepError | None = None
    reason: str | None = None
    progress: float | None = None
    note: str | None = None
    items: int | None = None
    items_done: int | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run, without its steps."""

    id: str
    workflow: str
    version: str
    plan_hash: str
    state: RunState
    priority: str
    created_at: int
    started_at: int | None = None
    finished_at: int | None = None
    outputs: dict[str, Json] | None = None
    error: StepError | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt of one step, held by one worker under a lease. `attempt` counts from 1 and fences the answer.

    `step` is the plan's entry; `scope` holds what its expressions may read.
    """

    run_id: str
    step_id: str
    attempt: int
    failures: int
    step: Any
    scope: dict[str, Json]
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A step that waits for a message to its agent. `segment` is the piece of canvas that starts with it."""

    step_id: str
    segment: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Forward:
    """The message of the next step of a chain, for the script that finishes the step before it.

    `queue` and `wake` are the broker's lists, on the same server as the store.
    """

    step_id: str
    queue: str
    wake: str
    wake_ms: int
    message: str


@dataclass(frozen=True, slots=True)
class Advance:
    """What one transition made possible, for whoever caused it to carry on with.

    `ready` steps go to their agents, `decide` steps are evaluated where the run advances (`when`, `set`, `foreach`,
    gates, and `$outputs` for the end of the run). `forwarded` is the one whose message is on its queue already; it is
    not among `ready`.
    """

    run_id: str
    ready: tuple[Ready, ...] = ()
    decide: tuple[str, ...] = ()
    priority: str = "medium"
    forwarded: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a run's history. `id` is its place in the stream; `at` milliseconds."""

    id: str
    at: int
    name: str
    step: str | None = None
    attempt: int | None = None
    data: dict[str, Json] = field(default_factory=dict)


def rfc3339(at_ms: int | None) -> str | None:
    """`2026-05-01T12:00:00.123Z`."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
