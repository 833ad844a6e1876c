"""What the events of a run say about its steps: events go in, entries change; `sentences.py` tells events.

Pure. Items of a `foreach` that are done are only counted, so one over 100,000 takes no more room than what runs of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator import events
from orchestrator.cli.entries import Entry, Item, Items
from orchestrator.cli.text import one_line
from orchestrator.ids import base_of
from orchestrator.records import Event, StepRecord
from orchestrator.states import RunState, StepState
from orchestrator.workflow.plan import Plan, PlanStep

MOST_FAILED = 20  # failed items of one foreach that are kept to be shown
RUN_STATES = {
    events.RUN_STARTED: RunState.RUNNING,
    events.RUN_PAUSED: RunState.PAUSED,
    events.RUN_RESUMED: RunState.RUNNING,
    events.RUN_QUEUED: RunState.PENDING,
    events.RUN_SUCCEEDED: RunState.SUCCEEDED,
    events.RUN_FAILED: RunState.FAILED,
    events.RUN_CANCELLED: RunState.CANCELLED,
}
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
    events.STEP_PARKED: StepState.WAITING,
    events.STEP_ROUND: StepState.RUNNING,
    events.STEP_FELL_BACK: StepState.PENDING,
}


class Progress:
    """The entries of one run: the steps in the order of the plan, then what comes up only when a run ends.

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
        self.entries = {step.id: Entry(step.id, step) for step in main}
        self.state = RunState.PENDING
        self.started_at: int | None = None
        self.finished_at: int | None = None
        self.remark = ""
        self._asked: dict[str, Entry] = {}
        for record in kept:
            if record.reused and (entry := self.entries.get(record.id)):
                entry.state, entry.note = record.state, "taken over"
            elif record.reused and (entry := self.entries.get(base_of(record.id))):
                entry.items = entry.items or Items()
                entry.items.done += 1

    def take(self, event: Event) -> None:
        """Bring the entries up to date."""
        if self.started_at is None:
            self.started_at = event.at
        if event.step is None:
            self._take_run(event)
            return
        step = self._steps.get(base_of(event.step))
        if step is None or step.internal:
            return
        if step.undoes:
            entry = self.entries.setdefault(step.id, Entry(step.id, step))
            self._take_step(entry, event, self.entries)
            entry.times += event.name in (events.STEP_SUCCEEDED, events.STEP_FAILED)
            return
        self._take_at(step, event)

    @property
    def done(self) -> int:
        """Steps that will not change any more."""
        return sum(entry.state.terminal for entry in self.entries.values())

    def unknown(self, most: int) -> list[str]:
        """Ids, as the store has them, of steps that wait for something which their events do not tell; at most so many.

        The records of these are for `learn`.
        """
        waiting = {name: entry for name, entry in self._asked.items() if entry.state is StepState.WAITING}
        self._asked = waiting
        return list(waiting)[:most]

    def learn(self, records: Iterable[StepRecord]) -> None:
        """What the records say about steps that wait. A step whose record is newer than its events is asked no more."""
        for record in records:
            entry = self._asked.pop(record.id, None)
            if entry is not None and record.state is StepState.WAITING:
                entry.due_at = record.retry_at

    # --- where an event belongs --------------------------------------------------------------------------------

    def _take_at(self, step: PlanStep, event: Event) -> None:
        """Find the step, in the item it is in, and what the event means for that item."""
        numbers = _numbers(event.step or "")
        entries, items, item = self.entries, None, None
        around = self._around(step)
        if len(numbers) > step.depth:
            around.append(step.id)  # the event is about one item of the step as a whole
        for depth, (name, number) in enumerate(zip(around, numbers, strict=False)):
            outer = entries.get(name)
            if outer is None:
                at = "".join(f"[{number}]" for number in numbers[:depth])
                outer = entries[name] = Entry(name + at, self._steps[name])
            outer.items = items = outer.items or Items()
            if number in items.over:
                return
            item = items.live.setdefault(number, Item())
            entries = item.entries
        entry = entries.get(step.id) or entries.setdefault(step.id, Entry(event.step or "", step))
        self._take_step(entry, event, entries)
        if items is not None and item is not None and entry.state.terminal:
            self._take_end(items, numbers[len(around) - 1], item, entry, whole=around[-1] == step.id)

    def _around(self, step: PlanStep) -> list[str]:
        """Every foreach around a step, the outermost first."""
        found: list[str] = []
        while step.each is not None:
            found.append(step.each)
            step = self._steps[step.each]
        return found[::-1]

    def _take_end(self, items: Items, number: int, item: Item, entry: Entry, *, whole: bool) -> None:
        """A step of an item has ended: the item is over when all of its own steps are, or when one has failed it."""
        failed = entry.state is StepState.FAILED
        if not whole:
            if entry.step.scope != entry.step.each:
                return  # in a loop, which ends when it ends
            item.done += 1
            failed = failed and entry.step.on_error == "fail"
            if not failed and item.done < self._bodies[entry.step.scope or ""]:
                return
        items.live.pop(number, None)
        items.over.add(number)
        items.done += 1
        items.failed += failed
        if failed and len(items.bad) < MOST_FAILED:
            items.bad[number] = item

    # --- what it means -------------------------------------------------------------------------------------------

    def _take_run(self, event: Event) -> None:
        self.state = RUN_STATES.get(event.name, self.state)
        if event.name in events.RUN_ENDS:
            self.finished_at = event.at
            for entry in self.entries.values():
                if not entry.state.terminal:  # never reached, so it has no event of its own
                    entry.state = StepState.CANCELLED
                _close(entry)
        if event.name in (events.RUN_STARTED, events.RUN_RESUMED, *events.RUN_ENDS):
            self.remark = ""
        elif event.name == events.RUN_PAUSED:
            self.remark = "nothing more starts"
        elif event.name == events.RUN_QUEUED:
            self.remark = f"waits for a place under {why(event)}"

    def _take_step(self, entry: Entry, event: Event, beside: dict[str, Entry]) -> None:
        if event.name == events.STEP_PROGRESS:
            fraction, note = event.data.get("fraction"), event.data.get("note")
            if isinstance(fraction, (int, float)):
                entry.fraction = min(1.0, max(0.0, fraction))
            entry.note = one_line(str(note)) if note else entry.note
            return
        state = STATES.get(event.name)
        if state is None:
            return
        entry.state, entry.note, entry.fraction = state, why(event), None
        entry.due_at, entry.retried = None, event.name == events.STEP_RETRYING
        entry.attempt = event.attempt or entry.attempt
        if state is StepState.WAITING:
            self._asked[self._stored(entry)] = entry
        if event.name == events.STEP_STARTED or (event.name == events.STEP_WAITING and entry.started_at is None):
            entry.started_at, entry.finished_at = event.at, None
        elif state.terminal:
            entry.finished_at = event.at
            _close(entry)
        self._take_kind(entry, event, beside)

    def _stored(self, entry: Entry) -> str:
        """The id as the store has it: see `visible_id`, whose inverse this is."""
        base, _, rest = entry.id.partition("[")
        item, whole = f"{base}.item", entry.id.count("[") == entry.step.depth
        return entry.id if whole or item not in self._steps else f"{item}[{rest}"

    def _take_kind(self, entry: Entry, event: Event, beside: dict[str, Entry]) -> None:
        """What an event means for this kind of step in particular."""
        step, whole = entry.step, entry.id.count("[") == entry.step.depth
        if event.name == events.STEP_HANDED_OFF:
            entry.hands = str(event.data.get("to"))
        elif event.name == events.STEP_FELL_BACK and step.fallback:
            entry.hands = ".".join(step.fallback)
        elif event.name == events.STEP_STARTED and "run" in event.data:
            entry.state, entry.note = StepState.WAITING, f"run {event.data['run']}"
        elif step.kind == "foreach" and whole and event.name == events.STEP_STARTED:
            entry.items, entry.note = entry.items or Items(), ""
            entry.items.count = int(event.data.get("note", 0))
        elif event.name == events.STEP_SUCCEEDED and step.foreach and entry.items and step.foreach.enough is None:
            entry.items.done = entry.items.count
        elif event.name == events.STEP_ROUND:
            entry.rounds, entry.note = int(event.data.get("note", 0)) + 1, ""
            for name in step.body:
                if name in beside:
                    beside[name] = Entry(beside[name].id, beside[name].step)  # a round begins anew
        elif step.kind == "loop" and entry.state is StepState.SKIPPED:
            for name in step.body:
                if name in beside:
                    beside[name].state = StepState.SKIPPED


def _close(entry: Entry) -> None:
    """Nothing of it goes on: what its items did last is of no interest any more, but for those that failed."""
    if entry.items is not None:
        entry.items.live.clear()


def _numbers(step_id: str) -> list[int]:
    """`[3, 1]` of `write[3][1]`."""
    return [int(part.rstrip("]")) for part in step_id.partition("~")[0].split("[")[1:]]


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
