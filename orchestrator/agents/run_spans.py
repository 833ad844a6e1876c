"""The spans of a run: one when it is submitted, which everything of it is in, and one that tells how it ended.

A span can be ended only by the process that began it, and its id cannot be chosen, so no span can be as long as a
run and have the others inside. `docs/decisions/0014-traces.md` has the figures and what was rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.ids import base_of
from orchestrator.records import Advance, Order
from orchestrator.settings import Settings
from orchestrator.store.reader import RunReader
from orchestrator.store.traces import RunTraces
from orchestrator.tracing import NS, begin, context_of, fail, mark_failed, text_of, tracer

if TYPE_CHECKING:
    from orchestrator.tracing import Context, Span, Tracer


class RunSpan:
    """The span of a run, from before it is stored until it is. A context manager; with traces off, it does nothing.

    Args:
        parent: gives the context, as text, of what the run belongs to; default: what is active here.
    """

    def __init__(self, settings: Settings, order: Order, parent: Callable[[], str] | None = None) -> None:
        self.order = order
        self._span: Span | None = None
        makes = tracer(settings.traces)
        if makes is not None:
            text = parent() if parent is not None else ""
            context = context_of(text) if text else None
            self._span = begin_run(makes, order.run_id, order.plan.name, order.priority, context)
            self.order = replace(order, trace=text_of(self._span))

    def __enter__(self) -> RunSpan:
        return self

    def accepted(self, run_id: str) -> None:
        """The run, which is an older one where its idempotency key was used before."""
        if self._span is not None:
            self._span.set_attribute("orchestrator.run.id", run_id)

    def refused(self, error: BaseException) -> None:
        """There is no run."""
        if self._span is not None:
            fail(self._span, error)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._span is not None:
            if error is not None:
                fail(self._span, error)
            self._span.end()


def begin_run(makes: Tracer, run_id: str, workflow: str, priority: str | None, context: Context | None) -> Span:
    """The span of a run, begun."""
    about = {"orchestrator.run.id": run_id, "orchestrator.workflow": workflow, "orchestrator.priority": priority}
    return begin(makes, f"run {workflow}", about, kind="PRODUCER", context=context)


def run_ends(settings: Settings, store: RunReader, advances: Iterable[Advance]) -> None:
    """Make the spans that only the end of a run can tell: of the whole, and of the steps that ran on no agent.

    Args:
        advances: the newest of each run; one that leads on in it has not ended it.
    """
    makes = tracer(settings.traces)
    if makes is None:
        return
    traces = RunTraces(store)
    for advance in advances:
        goes_on = advance.decide or advance.ready or (advance.claim and advance.claim.run_id == advance.run_id)
        if goes_on or (end := traces.end(advance.run_id)) is None:
            continue
        context, about = context_of(end.trace), {"orchestrator.run.id": advance.run_id}
        times = end.created_at, end.finished_at
        whole = about | {"orchestrator.workflow": end.workflow, "orchestrator.state": end.state}
        tell(makes, f"outcome {end.workflow}", context, times, whole, end.error_type)
        for step in end.steps:
            assert step.ready_at is not None, step
            assert step.finished_at is not None, step
            told = about | {"orchestrator.step.id": step.id, "orchestrator.state": step.state.value}
            kind = step.error.type if step.error else None
            tell(makes, f"step {base_of(step.id)}", context, (step.ready_at, step.finished_at), told, kind)


def tell(
    makes: Tracer, name: str, context: Context, times_ms: tuple[int, int], about: dict[str, Any], error: str | None
) -> None:
    """A span of what is over. Times: when it began and when it ended, ms since the epoch."""
    span = begin(makes, name, about, context=context, start_ns=times_ms[0] * NS)
    if error is not None:
        mark_failed(span, error)
    span.end(end_time=times_ms[1] * NS)
