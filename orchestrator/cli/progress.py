"""What the events of a run say about its steps: one row per step, whatever shows it.

Pure: events go in, rows come out; `sentences.py` makes lines of them. What is inside a `foreach` is counted in its row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator import events
from orchestrator.cli.text import one_line
from orchestrator.ids import base_of
from orchestrator.records import Event, StepRecord
from orchestrator.states import StepState
from orchestrator.workflow.plan import Plan, PlanStep

OVER = -1
STATES = {
    events.STEP_STARTED: StepState.RUNNING,
    events.STEP_SUCCEEDED: StepState.SUCCEEDED,
    events.STEP_FAILED: StepState.FAILED,
    events.STEP_RETRYING: StepState.WAITING,
    events.STEP_SKIPPED: StepState.SKIPPED,
    events.STEP_CANCELLED: StepState.CANCELLED,
    events.STEP_LOST: StepState.PENDING,
    events.STEP_HANDED_OFF: StepState.PENDING,
    events.STEP_WAITING: StepState.WAITING,
    events.STEP_LIMITED: StepState.WAITING,
    events.STEP_ROUND: StepState.RUNNING,
    events.STEP_FELL_BACK: StepState.PENDING,
}


@dataclass(slots=True)
class Row:
    """One step as far as it is known. Times are milliseconds; `items` is None until a `foreach` has opened.

    A compensation that runs for several items or rounds has one row; `times` says how often it has run.
    """

    step: PlanStep
    state: StepState = StepState.PENDING
    attempt: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    note: str = ""
    hands: str | None = None
    rounds: int | None = None
    times: int = 0
    items: int | None = None
    items_done: int = 0
    items_failed: int = 0
    inside: dict[str, int] = field(default_factory=dict)  # number of an item -> its steps that are done, or OVER

    @property
    def name(self) -> str:
        """`planner.plan`, or the kind of a step that no agent runs."""
        return self.hands or (self.step.name if self.step.agent else self.step.kind)

    def remark(self) -> str:
        """What is worth knowing beside the state: items done, progress, why it failed or was skipped."""
        parts = []
        if self.items is not None:
            failed = f", {self.items_failed} failed" if self.items_failed else ""
            parts.append(f"{self.items_done}/{self.items}{failed}")
        if self.rounds is not None:
            parts.append(f"round {self.rounds}")
        if self.times > 1:
            parts.append(f"{self.times} done")
        return "  ".join(part for part in (*parts, self.note) if part)


class Progress:
    """The rows of one run: the steps in the order of the plan, then what comes up only when a run ends.

    `remark` is what is worth knowing about the run as a whole.

    Args:
        kept: records of the run's steps; those that were taken over from an earlier run have no events.
    """

    def __init__(self, plan: Plan, kept: Iterable[StepRecord] = ()) -> None:
        self._steps = plan.by_id
        self._bodies: dict[str, int] = {}  # foreach -> how many steps each of its items has
        for step in plan.steps:
            if step.scope and not step.internal:
                self._bodies[step.scope] = self._bodies.get(step.scope, 0) + 1
        main = (step for step in plan.steps if step.phase == "main" and step.depth == 0 and not step.internal)
        self.rows = {step.id: Row(step) for step in main}
        self.started_at: int | None = None
        self.remark = ""
        for record in kept:
            if record.reused and (row := self.rows.get(record.id)):
                row.state, row.note = record.state, "taken over"
            elif record.reused and (row := self.rows.get(base_of(record.id))):
                row.items_done += 1

    def take(self, event: Event) -> None:
        """Bring the rows up to date."""
        if self.started_at is None:
            self.started_at = event.at
        if event.step is None:
            self._take_run(event)
            return
        step = self._steps.get(base_of(event.step))
        if step is None or step.internal:
            return
        row = self._row(step)
        indices = event.step.count("[")
        if step.undoes or (step.id == row.step.id and indices == step.depth):
            self._take_step(row, event)
            row.times += bool(step.undoes) and event.name in (events.STEP_SUCCEEDED, events.STEP_FAILED)
        elif step.id == row.step.id and indices == 1:
            self._take_item(row, event)
        else:
            self._take_inside(row, step, event)

    @property
    def done(self) -> int:
        """Steps that will not change any more."""
        return sum(row.state.terminal for row in list(self.rows.values()))  # a table is drawn while rows come up

    def _row(self, step: PlanStep) -> Row:
        """The row that shows a step: its own, or that of the outermost foreach around it."""
        while step.each is not None and not step.undoes:
            step = self._steps[step.each]
        return self.rows.setdefault(step.id, Row(step))

    def _take_run(self, event: Event) -> None:
        if event.name in events.RUN_ENDS:
            for row in self.rows.values():
                if not row.state.terminal:  # never reached, so it has no event of its own
                    row.state = StepState.CANCELLED
        if event.name in (events.RUN_STARTED, events.RUN_RESUMED, *events.RUN_ENDS):
            self.remark = ""
        elif event.name == events.RUN_PAUSED:
            self.remark = "paused"
        elif event.name == events.RUN_QUEUED:
            self.remark = f"waits for a place under {why(event)}"

    def _take_step(self, row: Row, event: Event) -> None:
        if event.name == events.STEP_PROGRESS:
            row.note = share(event)
            return
        state = STATES.get(event.name)
        if state is None:
            return
        row.state, row.note = state, why(event)
        row.attempt = event.attempt or row.attempt
        if event.name == events.STEP_STARTED or (event.name == events.STEP_WAITING and row.started_at is None):
            row.started_at, row.finished_at = event.at, None
        elif state.terminal:
            row.finished_at = event.at
        self._take_kind(row, event)

    def _take_kind(self, row: Row, event: Event) -> None:
        """What an event means for this kind of step in particular."""
        kind = row.step.kind
        if event.name == events.STEP_HANDED_OFF:
            row.hands = str(event.data.get("to"))
        elif event.name == events.STEP_FELL_BACK and row.step.fallback:
            row.hands = ".".join(row.step.fallback)
        elif kind == "foreach" and event.name == events.STEP_STARTED:
            row.items, row.note = int(event.data.get("note", 0)), ""
        elif row.step.foreach and event.name == events.STEP_SUCCEEDED and row.step.foreach.enough is None:
            row.items_done = row.items or 0
        elif kind == "workflow" and event.name == events.STEP_STARTED:
            row.state, row.note = StepState.WAITING, f"run {event.data.get('run')}"
        elif event.name == events.STEP_ROUND:
            row.rounds, row.note = int(event.data.get("note", 0)) + 1, ""
            self._renew(row.step)
        elif kind == "loop" and row.state is StepState.SKIPPED:
            for inner in self._inner(row.step):
                inner.state = StepState.SKIPPED

    def _renew(self, loop: PlanStep) -> None:
        """A round begins: what is in the loop starts anew."""
        for inner in self._inner(loop):
            self.rows[inner.step.id] = Row(inner.step)

    def _inner(self, loop: PlanStep) -> list[Row]:
        return [self.rows[name] for name in loop.body if name in self.rows]

    def _take_item(self, row: Row, event: Event) -> None:
        """An item that is one attempt or one child run, or one with steps that is cancelled as a whole."""
        state = STATES.get(event.name)
        if state is not None and state.terminal:
            _end_item(row, _item(event), failed=state is StepState.FAILED)
        self._note_inside(row, event)

    def _take_inside(self, row: Row, step: PlanStep, event: Event) -> None:
        """A step inside an item: the item is over when all of its own steps are, or when one has failed it."""
        state = STATES.get(event.name)
        item = _item(event)
        own = step.scope == row.step.id and str(event.step).count("[") == step.depth
        if own and state is not None and state.terminal and row.inside.get(item) != OVER:
            row.inside[item] = row.inside.get(item, 0) + 1
            failed = state is StepState.FAILED and step.on_error == "fail"
            if failed or row.inside[item] == self._bodies[row.step.id]:
                _end_item(row, item, failed=failed)
        self._note_inside(row, event)

    def _note_inside(self, row: Row, event: Event) -> None:
        name = str(event.step).removeprefix(row.step.id)
        if event.name == events.STEP_PROGRESS or STATES.get(event.name) in (StepState.FAILED, StepState.WAITING):
            row.note = f"{name} {share(event) or why(event)}"


def _item(event: Event) -> str:
    """The number of the item of the outermost foreach."""
    return str(event.step).partition("[")[2].partition("]")[0]


def _end_item(row: Row, item: str, *, failed: bool) -> None:
    if row.inside.get(item) != OVER:
        row.inside[item] = OVER
        row.items_done += 1
        row.items_failed += failed


def why(event: Event) -> str:
    """The error or the reason an event carries."""
    if "type" in event.data:
        return one_line(f"{event.data['type']}: {event.data.get('message', '')}")
    return one_line(str(event.data.get("note", "")))


def share(event: Event) -> str:
    """`50% reading`, of a step's progress."""
    if event.name != events.STEP_PROGRESS:
        return ""
    fraction, note = event.data.get("fraction"), event.data.get("note")
    part = f"{fraction:.0%}" if isinstance(fraction, (int, float)) else ""
    return " ".join(text for text in (part, one_line(str(note)) if note else "") if text)
