"""A line for a log from each event of a run: `step outline started (planner.plan)`. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator import events
from orchestrator.cli.progress import share, why
from orchestrator.durations import duration
from orchestrator.ids import base_of
from orchestrator.records import Event
from orchestrator.workflow.nearby import listed
from orchestrator.workflow.plan import Plan, PlanStep

QUIET = frozenset({events.RUN_CREATED, events.STEP_READY})


class Sentences:
    """Tells the events of one run, in order."""

    def __init__(self, plan: Plan) -> None:
        self._steps = plan.by_id
        self._started: dict[str, int] = {}
        self._hands: dict[str, str] = {}

    def tell(self, event: Event) -> Iterator[str]:
        """The line of an event, if it is worth one."""
        if event.name in QUIET:
            return
        if event.step is None:
            yield f"run {_happened_to_run(event)}"
            return
        base = self._steps.get(base_of(event.step))
        if base is not None and not base.internal:
            yield f"step {event.step} {self._happened(base, event)}"

    def _happened(self, step: PlanStep, event: Event) -> str:
        assert event.step is not None
        if event.name == events.STEP_STARTED:
            self._started[event.step] = event.at
            return self._start(step, event)
        if event.name == events.STEP_WAITING:
            self._started.setdefault(event.step, event.at)
            return why(event) or _until(step)
        if event.name == events.STEP_SUCCEEDED and step.kind == "stop":
            return "ends the run"
        if event.name == events.STEP_SUCCEEDED and event.step in self._started:
            return f"succeeded in {duration(event.at - self._started.pop(event.step))}"
        if event.name == events.STEP_HANDED_OFF:
            self._hands[event.step] = str(event.data.get("to"))
            return f"handed from {event.data.get('from')} to {event.data.get('to')}"
        if event.name == events.STEP_FELL_BACK:
            self._hands[event.step] = ".".join(step.fallback or ("another agent",))
            return f"failed and falls back to {self._hands[event.step]}{_colon(why(event))}"
        if event.name == events.STEP_ROUND:
            return f"begins round {int(event.data.get('note', 0)) + 1}"
        return _IN_WORDS.get(event.name, "{what}{why}").format(
            what=event.name.partition(".")[2], why=_colon(why(event)), reason=why(event), share=share(event)
        )

    def _start(self, step: PlanStep, event: Event) -> str:
        assert event.step is not None
        attempt = f", attempt {event.attempt}" if (event.attempt or 0) > 1 else ""
        who = self._hands.get(event.step, step.name if step.agent else "")
        if "run" in event.data:
            return f"started as run {event.data['run']}{attempt}"
        if step.kind == "foreach" and event.step.count("[") == step.depth:
            count = int(event.data.get("note", 0))
            return f"started: {count} item{'s' * (count != 1)}" + (f" ({who})" if who else "")
        return f"started ({who}{attempt})" if who else "started"


_IN_WORDS = {
    events.STEP_PROGRESS: "{share}",
    events.STEP_LOST: "lost its worker and starts again",
    events.STEP_RETRYING: "failed and is tried again{why}",
    events.STEP_LIMITED: "{reason}",
}


def _happened_to_run(event: Event) -> str:
    if event.name == events.RUN_QUEUED:
        return f"waits for a place under {why(event)}"
    if event.name == events.RUN_SIGNALLED:
        return f"got the signal {why(event)}"
    if event.name == events.RUN_UNUSED_SIGNALS:
        return f"ends with signals nobody waited for: {listed(event.data)}"
    return event.name.partition(".")[2] + _colon(why(event))


def _until(step: PlanStep) -> str:
    wait = step.wait
    if wait is not None and isinstance(wait.duration, int):
        return f"waits for {duration(wait.duration)}"
    if wait is not None and wait.until is not None and "${{" not in wait.until:
        return f"waits until {wait.until}"
    return "waits"


def _colon(text: str) -> str:
    return f": {text}" if text else ""
