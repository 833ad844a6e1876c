"""The states of runs, steps, messages and handoffs, and the only moves between them.

The transitions are the law that the store's scripts are tested against; docs/lifecycle.md draws them.
"""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """Where a run is. A terminal state is never left."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)


class StepState(StrEnum):
    """Where a step, or one item of a `foreach`, is.

    `waiting` holds no worker: until a retry is due, a limit has room, the time or signal comes, or a child run ends.
    """

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def terminal(self) -> bool:
        return self in (StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED)


class MessageState(StrEnum):
    """Where a message is. `delivered` is held by a receiver under a lease."""

    PENDING = "pending"
    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    EXPIRED = "expired"
    DEAD = "dead"

    @property
    def terminal(self) -> bool:
        return self not in (MessageState.PENDING, MessageState.DELIVERED)


class HandoffState(StrEnum):
    """Where a handoff is. A declined, expired or failed one belongs to its sender again."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        return self not in (HandoffState.OFFERED, HandoffState.ACCEPTED, HandoffState.IN_PROGRESS)


_S = StepState
_R = RunState
_M = MessageState
_H = HandoffState

TRANSITIONS: dict[StepState, frozenset[StepState]] = {
    # pending -> waiting: a limit is reached, or it is a `wait` or a child run
    _S.PENDING: frozenset({_S.RUNNING, _S.WAITING, _S.SUCCEEDED, _S.FAILED, _S.SKIPPED, _S.CANCELLED}),
    # running -> pending: the lease lapsed, the step is offered again; running -> waiting: also between two rounds
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.WAITING, _S.PENDING, _S.CANCELLED}),
    _S.WAITING: frozenset({_S.PENDING, _S.RUNNING, _S.SUCCEEDED, _S.FAILED, _S.CANCELLED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.SKIPPED: frozenset(),
    _S.CANCELLED: frozenset(),
}

RUN_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    _R.PENDING: frozenset({_R.RUNNING, _R.PAUSED, _R.CANCELLED, _R.FAILED}),
    _R.RUNNING: frozenset({_R.PAUSED, _R.SUCCEEDED, _R.FAILED, _R.CANCELLED}),
    _R.PAUSED: frozenset({_R.PENDING, _R.RUNNING, _R.SUCCEEDED, _R.FAILED, _R.CANCELLED}),
    _R.SUCCEEDED: frozenset(),
    _R.FAILED: frozenset(),
    _R.CANCELLED: frozenset(),
}

MESSAGE_TRANSITIONS: dict[MessageState, frozenset[MessageState]] = {
    _M.PENDING: frozenset({_M.DELIVERED, _M.EXPIRED, _M.FAILED}),  # failed: a handoff that was declined
    # delivered -> pending: a retry is due later, it was given back, or the lease lapsed; delivered -> expired: its
    # signature is too old, which only who takes it can see
    _M.DELIVERED: frozenset({_M.ACKNOWLEDGED, _M.FAILED, _M.DEAD, _M.PENDING, _M.EXPIRED}),
    _M.ACKNOWLEDGED: frozenset(),
    _M.FAILED: frozenset(),
    _M.EXPIRED: frozenset(),
    _M.DEAD: frozenset(),
}

HANDOFF_TRANSITIONS: dict[HandoffState, frozenset[HandoffState]] = {
    _H.OFFERED: frozenset({_H.ACCEPTED, _H.DECLINED, _H.EXPIRED}),
    # accepted -> offered: the worker that had accepted it died before it began
    _H.ACCEPTED: frozenset({_H.IN_PROGRESS, _H.OFFERED, _H.COMPLETED, _H.FAILED, _H.EXPIRED}),
    _H.IN_PROGRESS: frozenset({_H.COMPLETED, _H.FAILED, _H.OFFERED, _H.EXPIRED}),
    _H.COMPLETED: frozenset(),
    _H.DECLINED: frozenset(),
    _H.FAILED: frozenset(),
    _H.EXPIRED: frozenset(),
}
