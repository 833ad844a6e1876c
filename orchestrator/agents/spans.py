"""The span of what this thread handles now, and how it ends. `run_spans`, `step_spans` and `message_spans` say which
spans there are. Attributes are ids, names and figures, never payloads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from orchestrator.tracing import active, fail

if TYPE_CHECKING:
    from orchestrator.tracing import Span


class Handled:
    """A span, that of the step it is an attempt at, and what to do where the attempt is not the last."""

    def __init__(self, span: Span, *, state: str, step: Span | None = None, left: Callable[[], None] | None = None):
        self.span = span
        self.state = state  # what it ends as, unless somebody says something else
        self.error_type: str | None = None
        self.step = step
        self.left = left


_now: ContextVar[Handled | None] = ContextVar("handled", default=None)


@contextmanager
def handling(now: Handled) -> Iterator[None]:
    """Make the span the active one, and end it and that of the step afterwards."""
    mark = _now.set(now)
    try:
        with active(now.span):
            yield
    except BaseException as error:
        ended("interrupted", error)
        raise
    finally:
        _now.reset(mark)
        for span in (now.span, now.step):
            if span is not None:
                span.set_attribute("orchestrator.state", now.state)
                span.end()


def ended(state: str, error: BaseException | None = None) -> None:
    """Say how what is handled now ends, before that is recorded: another process may go on with it at once."""
    now = _now.get()
    if now is None:
        return
    now.state = state
    if error is not None:
        now.error_type = type(error).__name__
        fail(now.span, error)
        if now.step is not None and state == "failed":
            fail(now.step, error)
    if now.left is not None and state != "superseded":
        now.left()
