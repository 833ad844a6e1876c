"""The spans of the steps that run on agents: one of each step, inside it one of each attempt.

Where the span of a step has ended with an earlier attempt, the last one adds an `outcome`, which is as long as all of
them. Of an attempt that was lost with its worker, the next one tells.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.agents.run_spans import begin_run, tell
from orchestrator.agents.spans import Handled, handling
from orchestrator.ids import base_of
from orchestrator.records import Claim
from orchestrator.settings import Settings
from orchestrator.store.reader import RunReader
from orchestrator.store.traces import RunTraces, StepTrace, hands_of
from orchestrator.tracing import NS, begin, context_of, text_of, tracer, within

if TYPE_CHECKING:
    from orchestrator.tracing import Span, Tracer


class StepSpans:
    """Makes those of one process."""

    def __init__(self, makes: Tracer, store: RunReader) -> None:
        self._makes = makes
        self._traces = RunTraces(store)

    @classmethod
    def of(cls, settings: Settings, store: RunReader) -> StepSpans | None:
        """None: traces are off."""
        makes = tracer(settings.traces)
        return None if makes is None else cls(makes, store)

    @contextmanager
    def attempt(self, claim: Claim) -> Iterator[None]:
        """The span of an attempt, active meanwhile.

        The first attempt makes the span of the step. A retry goes into that one, which was ended when it was left;
        other hands, after a handoff or a fallback, make one of their own, with a link to it.
        """
        known, now_ns = self._traces.load(claim), time.time_ns()
        lost = self._traces.lost(claim, known)
        step: Span | None = None
        inside, left = context_of(known.before), known.before
        if not known.before or known.hands != hands_of(claim):
            began_ns = lost[0].started_at * NS if lost else now_ns - known.waited_ms * NS
            step = self._begin_step(claim, known, began_ns)
            inside, left = within(step), text_of(step)
        about = _about(claim, known)
        for one in lost:
            this = {"orchestrator.attempt": one.number, "orchestrator.state": "lost"}
            tell(self._makes, hands_of(claim), inside, (one.started_at, one.ended_at), about | this, "lost")
        about |= {"orchestrator.attempt": claim.number, "orchestrator.queue_wait_ms": known.waited_ms}
        span = begin(self._makes, hands_of(claim), about, context=inside, start_ns=now_ns)
        now = Handled(span, state="succeeded", step=step, left=lambda: self._traces.note(claim, left))
        with handling(now):
            yield
        if step is None and known.started_at is not None and now.state in ("succeeded", "failed"):
            whole = _about(claim, known) | {"orchestrator.state": now.state}
            times = known.started_at, time.time_ns() // NS
            tell(self._makes, f"outcome {base_of(claim.shown_id)}", inside, times, whole, now.error_type)

    def _begin_step(self, claim: Claim, known: StepTrace, began_ns: int) -> Span:
        run = known.run or self._adopt(claim, known)
        return begin(
            self._makes, f"step {base_of(claim.shown_id)}", _about(claim, known), kind="CONSUMER",
            context=context_of(run), links=[context_of(known.before)], start_ns=began_ns,
        )  # fmt: skip

    def _adopt(self, claim: Claim, known: StepTrace) -> str:
        """The run was submitted where no traces are made: the first step makes its span."""
        workflow = claim.scope["run"]["workflow"]
        span = begin_run(self._makes, claim.run_id, workflow, known.priority, context_of(""))
        mine = text_of(span)
        counts = self._traces.adopt(claim.run_id, mine) if mine else ""
        if counts == mine:
            span.end()  # else another step was faster: a span that is not ended is never told
        return counts


def _about(claim: Claim, known: StepTrace) -> dict[str, Any]:
    return {
        "orchestrator.run.id": claim.run_id,
        "orchestrator.workflow": claim.scope["run"]["workflow"],
        "orchestrator.step.id": claim.shown_id,
        "orchestrator.agent": claim.step.agent,
        "orchestrator.task": claim.step.task,
        "orchestrator.priority": claim.step.priority or known.priority,
    }
