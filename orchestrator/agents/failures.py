"""From an exception to a stored error, and from a policy to the delay before the next attempt."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable

from orchestrator.backoff import retry_delay_ms
from orchestrator.errors import (
    ExpressionError,
    HandlerInputInvalid,
    HopLimit,
    MessageInvalid,
    MessageNotFound,
    UnknownAgent,
    UnknownTask,
    WorkerLost,
)
from orchestrator.messages import LONGEST_S
from orchestrator.outcomes import Fatal, RetryLater
from orchestrator.records import StepError
from orchestrator.settings import Settings
from orchestrator.workflow.plan import Retry

# The same input would fail in the same way, so no policy retries these. An output that does not fit is none of them: a
# model gives another answer the next time.
_HOPELESS = (
    Fatal,
    ExpressionError,
    HandlerInputInvalid,
    HopLimit,
    MessageInvalid,
    MessageNotFound,
    UnknownAgent,
    UnknownTask,
)
_MAX_MESSAGE = 2000
_MAX_TRACEBACK = 8000


def step_error(
    error: BaseException,
    step_id: str,
    attempt: int | None = None,
    *,
    trace: bool = False,
    redact: Callable[[str], str] = str,
) -> StepError:
    """The stored form of an exception.

    Args:
        trace: whether the last 8,000 characters of the traceback are part of it.
        redact: takes out of the message and the traceback what must not be stored.
    """
    message = redact(_message(error)) or type(error).__name__
    text = redact("".join(traceback.format_exception(error)))[-_MAX_TRACEBACK:] if trace else None
    return StepError(type(error).__name__, _shorten(message), step_id, attempt, text)


def next_delay_ms(policy: Retry, failures: int, error: BaseException) -> int | None:
    """Milliseconds until the next attempt, or None when the step has failed for good.

    Args:
        failures: failed attempts so far, this one included.
    """
    if hopeless(error) or _gives_up(policy, error):
        return None
    if failures >= policy.max_attempts:
        return None
    return retry_delay_ms(
        failures,
        delay_ms=policy.delay_ms,
        backoff=policy.backoff,
        max_delay_ms=policy.max_delay_ms,
        jitter=policy.jitter,
        floor_ms=asked_for_ms(error),
    )


def asked_for_ms(error: BaseException) -> int:
    """How long a handler wants to wait before the next attempt; 0: it does not say, or says no number."""
    after_s = error.after_s if isinstance(error, RetryLater) else 0
    if not isinstance(after_s, (int, float)) or after_s != after_s or after_s in (math.inf, -math.inf):
        return 0
    return round(min(max(after_s, 0), LONGEST_S) * 1000)


def worker_lost(settings: Settings, how: str) -> WorkerLost:
    """What a step or a message ends with that has cost too many worker processes their life."""
    times = f", {settings.max_losses} times in all" if settings.max_losses > 1 else ""
    return WorkerLost(f"worker process died ({how}){times}")


def unheard(settings: Settings) -> str:
    """How a worker died that left nobody to tell."""
    return f"no sign of life for {settings.lease_s:g} s"


def hopeless(error: BaseException) -> bool:
    """Whether the same input would fail in the same way again."""
    return isinstance(error, _HOPELESS)


def _gives_up(policy: Retry, error: BaseException) -> bool:
    return any(cls.__name__ in policy.give_up_on for cls in type(error).__mro__)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception's own code, and it is broken
        return ""


def _shorten(text: str) -> str:
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _MAX_MESSAGE else clean[: _MAX_MESSAGE - 3] + "..."
