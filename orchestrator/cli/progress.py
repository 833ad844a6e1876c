"""What the events of a run say about its steps: one row per step, whatever shows it.

Pure: events go in, rows and sentences come out. Items of a `foreach` are counted in the row of their step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator import events
from orchestrator.cli.text import duration, one_line
from orchestrator.records import Event
from orchestrator.states import StepState
from orchestrator.workflow.plan import Plan, PlanStep

STATES = {
    events.STEP_STARTED: StepState.RUNNING,
    events.STEP_SUCCEEDED: StepState.SUCCEEDED,
    events.STEP_FAILED: StepState.FAILED,
    events.STEP_RETRYING: StepState.WAITING,
    events.STEP_SKIPPED: StepState.SKIPPED,
    events.STEP_CANCELLED: StepState.CANCELLED,
    events.STEP_LOST: StepState.PENDING,
    events.STEP_HANDED_OFF: StepState.PENDING,
}
QUIET = frozenset({events.RUN_CREATED, events.STEP_READY})


@dataclass(slots=True)
class Row:
    """One step as far as it is known. Times are milliseconds; `items` is None until a `foreach` has opened."""

    step: PlanStep
    state: StepState = StepState.PENDING
    attempt: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    note: str = ""
    items: int | None = None
    items_done: int = 0
    items_failed: int = 0

    @property
    def name(self) -> str:
        """`planner.plan`, or the kind of a step that no agent runs."""
        return self.step.name if self.step.agent else self.step.kind

    def remark(self) -> str:
        """What is worth knowing beside the state: items done, progress, why it failed or was skipped."""
        if self.items is None:
            return self.note
        failed = f", {self.items_failed} failed" if self.items_failed else ""
        return f"{self.items_done}/{self.items}{failed}" + (f"  {self.note}" if self.note else "")


class Progress:
    """The rows of one run, in the order of the plan."""

    def __init__(self, plan: Plan) -> None:
        self.rows = {step.id: Row(step) for step in plan.steps if not step.internal}
        self.started_at: int | None = None

    def take(self, event: Event) -> None:
        """Bring the rows up to date."""
        if self.started_at is None:
            self.started_at = event.at
        if event.name in (events.RUN_FAILED, events.RUN_CANCELLED):
            self._cancel_the_rest()
        row = self.rows.get((event.step or "").partition("[")[0])
        if row is None or event.step is None:
            return
        if event.step.endswith("]"):
            self._take_item(row, event)
        elif event.name == events.STEP_PROGRESS:
            row.note = _progress(event)
        elif event.name in STATES:
            self._take_step(row, event)

    @property
    def done(self) -> int:
        """Steps that will not change any more."""
        return sum(row.state.terminal for row in self.rows.values())

    def _cancel_the_rest(self) -> None:
        """Steps that were never reached have no event of their own."""
        for row in self.rows.values():
            if not row.state.terminal:
                row.state = StepState.CANCELLED

    def _take_step(self, row: Row, event: Event) -> None:
        row.state = STATES[event.name]
        row.attempt = event.attempt or row.attempt
        row.note = _why(event)
        if row.state is StepState.RUNNING:
            row.started_at, row.finished_at = event.at, None
            if row.step.kind == "foreach":
                row.items, row.note = int(event.data.get("note", 0)), ""
        elif row.state.terminal:
            row.finished_at = event.at

    def _take_item(self, row: Row, event: Event) -> None:
        state = STATES.get(event.name)
        if state is not None and state.terminal:
            row.items_done += 1
            row.items_failed += state is StepState.FAILED
        if event.name == events.STEP_PROGRESS or state in (StepState.FAILED, StepState.WAITING):
            row.note = f"[{str(event.step).partition('[')[2]} {_progress(event) or _why(event)}"


class Sentences:
    """Turns each event into a line for a log: `step outline started (planner.plan)`."""

    def __init__(self, plan: Plan) -> None:
        self._steps = plan.by_id
        self._started: dict[str, int] = {}

    def tell(self, event: Event) -> Iterator[str]:
        """The line of an event, if it is worth one."""
        if event.step is None:
            if event.name not in QUIET:
                yield event.name.replace(".", " ") + _colon(_why(event))
            return
        base = self._steps.get(event.step.partition("[")[0])
        if base is None or base.internal or event.name in QUIET:
            return
        yield f"step {event.step} {self._happened(base, event)}"

    def _happened(self, step: PlanStep, event: Event) -> str:
        assert event.step is not None
        what = event.name.partition(".")[2]
        attempt = f", attempt {event.attempt}" if (event.attempt or 0) > 1 else ""
        if event.name == events.STEP_STARTED:
            self._started[event.step] = event.at
            if step.kind == "foreach" and not event.step.endswith("]"):
                return f"started: {event.data.get('note', 0)} items ({step.name})"
            return f"started ({step.name}{attempt})"
        if event.name == events.STEP_SUCCEEDED and event.step in self._started:
            return f"succeeded in {duration(event.at - self._started.pop(event.step))}"
        if event.name == events.STEP_PROGRESS:
            return _progress(event)
        if event.name == events.STEP_HANDED_OFF:
            return f"handed from {event.data.get('from')} to {event.data.get('to')}"
        if event.name == events.STEP_LOST:
            return "lost its worker and starts again"
        if event.name == events.STEP_RETRYING:
            return "failed and is tried again" + _colon(_why(event))
        return what + _colon(_why(event))


def _why(event: Event) -> str:
    """The error or the reason an event carries."""
    if "type" in event.data:
        return one_line(f"{event.data['type']}: {event.data.get('message', '')}")
    return one_line(str(event.data.get("note", "")))


def _progress(event: Event) -> str:
    if event.name != events.STEP_PROGRESS:
        return ""
    fraction, note = event.data.get("fraction"), event.data.get("note")
    share = f"{fraction:.0%}" if isinstance(fraction, (int, float)) else ""
    return " ".join(part for part in (share, one_line(str(note)) if note else "") if part)


def _colon(text: str) -> str:
    return f": {text}" if text else ""
