"""Every exception of the project, on one page.

The docstring of a class is its default message. Whatever a caller may want to act on is an attribute, and every
error survives pickling, because it may cross a process boundary.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


class OrchestratorError(Exception):
    """Something went wrong in the orchestrator."""

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.details = details
        super().__init__(self.message)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["details"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.details))


def _rebuild(cls: type[OrchestratorError], message: str, details: dict[str, Any]) -> OrchestratorError:
    error = cls.__new__(cls)
    OrchestratorError.__init__(error, message, **details)
    return error


# --- workflow: found before anything runs -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a workflow file or its inputs: where it is, what it is, what to do about it.

    `line` counts from 1; 0 means the place has no line (an input given on the command line, say).
    `path` is the place inside the document, such as `steps.2.with.topic`.
    """

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        line = f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"
        # A key of a file may have line ends in it, and would forge lines of a report.
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class WorkflowInvalid(OrchestratorError):
    """The workflow or its inputs have mistakes; `problems` lists all of them."""

    def __init__(self, problems: list[Problem], message: str | None = None) -> None:
        super().__init__(message or "\n".join(map(str, problems)), problems=problems)


class ExpressionError(OrchestratorError):
    """An expression could not be compiled or evaluated."""


# --- run --------------------------------------------------------------------------------------------------------


class RunNotFound(OrchestratorError):
    """No such run."""


class RunOver(OrchestratorError):
    """The run is over; `status` says how it ended."""


class RunNotOver(OrchestratorError):
    """The run is not over yet; `status` says where it is."""


class UnknownStep(OrchestratorError):
    """The workflow has no such step."""


class RunRefused(OrchestratorError):
    """The run was not accepted: its concurrency key has no place, or its idempotency key was used before."""


class StepNotWaiting(OrchestratorError):
    """The step does not wait for a signal."""


class ApprovalNotAllowed(OrchestratorError):
    """The agent whose key this process has works in the run, and so opens none of its gates."""


class RunFailed(OrchestratorError):
    """The run did not succeed; `run_id`, `status` and `error` say more."""


class WaitTimeout(OrchestratorError, TimeoutError):
    """The time to wait is over; what was waited for goes on."""


# --- step -------------------------------------------------------------------------------------------------------


class StepTimeout(OrchestratorError):
    """The attempt ran longer than the step's timeout."""


class HandlerTimeout(OrchestratorError):
    """The handler of a message ran longer than it may."""


class LeaseLost(OrchestratorError):
    """The attempt is no longer the one that counts: its lease lapsed or the run was cancelled."""


class LoopExhausted(OrchestratorError):
    """The loop has used up its rounds."""


class NotEnough(OrchestratorError):
    """Fewer branches or items have succeeded than are to be enough."""


class ChildRunFailed(OrchestratorError):
    """The child run failed or was cancelled."""


class WorkerLost(OrchestratorError):
    """The worker process died while it ran the step."""


class HandlerInputInvalid(OrchestratorError):
    """The values of `with` do not fit the parameters of the agent's task."""


class HandlerOutputInvalid(OrchestratorError):
    """What the agent's task returned does not fit its declared type, or is no JSON."""


class LimitExceeded(OrchestratorError):
    """A value is larger than the limit set for it."""


# --- agents -----------------------------------------------------------------------------------------------------


class AgentsNotLoadable(OrchestratorError):
    """A file, folder or module of agents could not be loaded."""


class UnknownAgent(OrchestratorError):
    """No agent of that name."""


class UnknownTask(OrchestratorError):
    """The agent has no task of that name."""


class AgentOffline(OrchestratorError):
    """Nobody serves the agent now, and the sender did not want to wait."""


# --- messages ---------------------------------------------------------------------------------------------------


class MessageInvalid(OrchestratorError):
    """A message has mistakes and was not stored; `field` names the first of them."""


class MessageNotFound(OrchestratorError):
    """No such message."""


class MessageNotHeld(OrchestratorError):
    """The message is not held by whoever wants to close it."""


class SenderMismatch(MessageInvalid):
    """The sender is not the agent whose key this process has."""


class ReplyNotAllowed(MessageInvalid):
    """Only the agent that got a message may reply to it."""


class NotYourMessage(OrchestratorError):
    """The message is for another agent than the one whose key this process has."""


class BadSignature(OrchestratorError):
    """The message is not signed by its sender."""


class SignatureTooOld(BadSignature):
    """The message was signed longer ago than a signature holds."""


class HopLimit(OrchestratorError):
    """A handoff has gone through too many hands."""


class HandoffRefused(OrchestratorError):
    """The handoff is not in a state that allows this."""


class MigrationRefused(OrchestratorError):
    """An agent cannot be moved over like this yet."""


class HandoffFailed(OrchestratorError):
    """The handoff ended without a result; `status` says how."""


# --- store and server -------------------------------------------------------------------------------------------


class StoreUnavailable(OrchestratorError):
    """The server did not answer; `url` names it, its password masked."""


class OutcomeUnknown(StoreUnavailable):
    """The server did not answer in time, and may have done what it was told; asking again with the same key is safe."""


class QueueFull(OrchestratorError):
    """The server has no room for new work; what it has accepted goes on."""


class ServerNotStarted(StoreUnavailable):
    """The embedded server could not be started."""


class ServerTooWeak(OrchestratorError):
    """The server is set up so that it can lose accepted work."""


class SettingsInvalid(OrchestratorError):
    """A setting has a value that cannot be used."""
