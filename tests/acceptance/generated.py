"""A generated workflow, simulated and run on live workers: what both have in common, and what every run must keep."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import RunHandle
from orchestrator.errors import RunNotFound, RunOver
from orchestrator.events import RUN_ENDS
from orchestrator.ids import base_of
from orchestrator.records import Event, StepError
from orchestrator.testing import SimulatedRun, simulate
from orchestrator.workflow.plan import Plan, PlanStep
from tests.acceptance import agents
from tests.acceptance.random_graphs import Generated
from tests.acceptance.team import Team
from tests.waiting import wait_until

ENDS = {"step.succeeded", "step.failed", "step.skipped"}
PHASES = ("main", "compensate", "on_failure", "finally")
POLL_S = 0.02
_CHILD = re.compile(r"\brun \S+ (failed|cancelled)")
_ROUND = re.compile(r"~\d+")
Json = Any


def simulated(generated: Generated, file: Path) -> SimulatedRun:
    """The workflow with the handlers of the test's agents, in this process."""
    return simulate(file, agents=[agents.hand, agents.many, agents.solo], signals=generated.signals)


@dataclass
class Family:
    """A run that is over, and its child runs: ids, plans, and what stands before the ids of their steps."""

    crew: Team
    run: RunHandle
    since: str  # the newest entry of the store's journal before the run
    noted: int  # bytes that the handlers had written before it

    @property
    def members(self) -> dict[str, str]:
        """run id -> prefix, as in `SimulatedRun.order`."""
        return dict(_members(self.crew, self.run.id, ""))

    def plan(self, run_id: str) -> Plan:
        return self.crew.client.store.read_plan(run_id)

    def events(self, run_id: str) -> list[Event]:
        return list(self.crew.client.run(run_id).events())

    def attempts(self) -> list[str]:
        """What agents were given, as it happened, in the words of `SimulatedRun.order`."""
        store, members = self.crew.client.store, self.members
        entries = store.client.xrange(store.keys.journal, min=f"({self.since}")
        found = [fields for _, fields in entries if fields["e"] == "step.started" and fields.get("r") in members]
        return [
            members[fields["r"]] + fields["s"]
            for fields in found
            if "a" in fields and _on_agent(self.plan(fields["r"]), fields["s"])
        ]


def run_really(crew: Team, generated: Generated, file: Path, timeout_s: float = 60) -> Family:
    """Submit the workflow, and give its signals to whatever waits for one, until it is over."""
    store = crew.client.store
    newest = store.client.xrevrange(store.keys.journal, count=1)
    noted = crew.journal_file.stat().st_size if crew.journal_file.exists() else 0
    run = crew.client.submit(file)
    family = Family(crew, run, newest[0][0] if newest else "0", noted)
    due = time.monotonic() + timeout_s
    while not run.status().terminal:
        assert time.monotonic() < due, f"run {run.id} of {file} is not over: {states(family)}"
        for run_id in _members(crew, run.id, ""):
            give_signals(crew.client.run(run_id[0]), generated.signals)
        time.sleep(POLL_S)
    return family


def give_signals(run: RunHandle, signals: dict[str, Json]) -> None:
    with suppress(RunOver, RunNotFound):
        for name in {step.signal for step in run.steps() if step.signal in signals}:
            run.signal(str(name), signals[str(name)])


def states(family: Family) -> dict[str, str]:
    """What the steps that are not over do, for the message of a test that fails."""
    steps = ((prefix, step) for run, prefix in family.members.items() for step in family.crew.client.run(run).steps())
    return {prefix + step.id: step.state.value for prefix, step in steps if not step.state.terminal}


def _members(crew: Team, run_id: str, prefix: str) -> Iterator[tuple[str, str]]:
    yield run_id, prefix
    store = crew.client.store
    for child in {event.data["run"] for event in store.read_events(run_id) if "run" in event.data}:
        with suppress(RunNotFound):  # noted by the step that waits for it, and not created yet
            step = str(store.read_run(child).parent_step).replace(".item[", "[")
            yield from _members(crew, child, f"{prefix}{step}/")


def _on_agent(plan: Plan, step_id: str) -> bool:
    """Whether an attempt of a step is one of an agent, and not a child run."""
    base = base_of(step_id)
    return plan.by_id.get(f"{base}.item", plan.by_id[base]).kind in ("task", "foreach")


# --- the same as in the simulation ------------------------------------------------------------------------------------


def assert_same(family: Family, expected: SimulatedRun, *, sequential: bool) -> None:
    """Status, error, outputs, every step there is, and the attempts: their order where the workflow is sequential."""
    document = family.run.document()
    assert document["status"] == expected.status.value
    assert _error(document["error"]) == _error(expected.error)
    assert document["outputs"] == expected.outputs
    found = dict(_flat(document["steps"], ""))
    wanted = {name: _shown(step) for name, step in expected.steps.items()}
    attempts, order = family.attempts(), expected.order
    if not sequential:  # `~7` says how many steps with a compensation were done before
        found, wanted = _without_rounds(found), _without_rounds(wanted)
        attempts, order = (sorted(_ROUND.sub("", name) for name in names) for names in (attempts, order))
    assert found == wanted
    assert attempts == order


def _flat(steps: dict[str, Json], at: str) -> Iterator[tuple[str, Json]]:
    """(id as `simulate` writes it, what is compared) of the steps of a document, with the items and what is in them."""
    for name, step in steps.items():
        base, tilde, round_ = name.partition("~")
        here = base + at + tilde + round_
        yield here, _shown(step)
        for index, item in enumerate(step.get("items", ())):
            yield f"{here}[{index}]", _shown(item)
            yield from _flat(item.get("steps", {}), f"{at}[{index}]")


def _shown(step: Json) -> dict[str, Json]:
    """Of a step of a document, or of a `SimulatedStep`."""
    known = step if isinstance(step, dict) else vars(step)
    values = {name: known.get(name) for name in ("status", "attempts", "output", "reason", "rounds")}
    return values | {"status": str(values["status"]), "error": _error(known["error"])}


def _error(error: Json) -> Json:
    known = error.to_json() if isinstance(error, StepError) else error
    if known is None:
        return None
    message = _CHILD.sub(r"run ID \1", known["message"])
    return {"message": message, **{name: known.get(name) for name in ("type", "step", "attempt")}}


def _without_rounds(steps: dict[str, Json]) -> dict[str, Json]:
    found: dict[str, list[str]] = {}
    for name, step in steps.items():
        found.setdefault(_ROUND.sub("", name), []).append(_ROUND.sub("", json.dumps(step, sort_keys=True)))
    return {name: sorted(texts) for name, texts in found.items()}


# --- what holds for every run -----------------------------------------------------------------------------------------


def assert_lawful(family: Family) -> None:
    """Order, one call for each attempt, and nothing left behind."""
    started: Counter[Json] = Counter()
    for run_id in family.members:
        events = family.events(run_id)
        Walk(family.plan(run_id)).follow(events)
        assert_undone_in_reverse(family.plan(run_id), events)
        started.update((run_id, event.step, event.attempt) for event in events if event.name == "step.started")
    assert Counter(_notes(family)) <= started
    store = family.crew.client.store
    keys = (store.keys.timers, store.keys.ready)
    mine = {f" {run_id} " for run_id in family.members}

    def left_behind() -> list[str]:
        entries = [entry for key in keys for entry in store.client.zrange(key, 0, -1)]
        return [entry for entry in entries if any(run in entry for run in mine)]

    wait_until(lambda: not left_behind(), what=f"timers and dispatches to go: {family.run.id}", timeout_s=10)


def _notes(family: Family) -> list[Json]:
    """(run, step, attempt) of the handlers' own notes."""
    members, file = family.members, family.crew.journal_file
    notes = map(json.loads, file.read_bytes()[family.noted :].splitlines() if file.exists() else ())
    mine = [note for note in notes if note["what"] == "start" and note["run"] in members]
    return [(note["run"], note["step"].replace(".item[", "["), note["attempt"]) for note in mine]


def assert_undone_in_reverse(plan: Plan, events: list[Event]) -> None:
    """Compensations run one after the other, in the reverse order of completion, for everything that was completed."""
    undo = {step.undoes: step.id for step in plan.steps if step.undoes}
    done: list[str] = []
    undone: list[str] = []
    running: str | None = None
    for event in events:
        step_id = event.step or ""
        if ".compensate" in step_id:
            if event.name == "step.started":
                assert running in (None, step_id)
                undone += [_ROUND.sub("", step_id)] if running is None else []
                running = step_id
            elif event.name in ENDS:
                running = None
        elif event.name == "step.succeeded":
            base, at = base_of(step_id), step_id[len(base_of(step_id)) :]
            step = plan.by_id[base]
            name = f"{base}.item" if f"{base}.item" in undo and at.count("[") > step.depth else base
            if name in undo and (step.foreach is None or at.count("[") > step.depth):
                done.append(undo[name] + at)
    assert undone in ([], done[::-1])


class Walk:
    """Follows the events of one run: what begins, begins after what it needs, in a container that is open."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.begun: set[str] = set()
        self.ended: set[str] = set()
        self.phase = 0

    def follow(self, events: list[Event]) -> None:
        for event in events:
            if event.step is None or event.name == "step.cancelled":
                continue
            assert event.step not in self.ended, f"{event.name} of {event.step}, which is over"
            if event.step not in self.begun:
                self._begin(event.step)
            if event.name == "step.round":
                self._forget(event.step)
            if event.name in ENDS:
                self.ended.add(event.step)
        assert [event.name for event in events if event.name in RUN_ENDS] == [events[-1].name]

    def _begin(self, step_id: str) -> None:
        base = base_of(step_id)
        at = step_id[len(base) :]
        step = self.plan.by_id[base]
        self.begun.add(step_id)
        assert PHASES.index(step.phase) >= self.phase, f"{step_id} began in a part that was over"
        self.phase = PHASES.index(step.phase)
        if step.undoes is not None:
            return
        outer = at.rpartition("[")[0]
        if at.count("[") > step.depth:  # an item
            self._check_open(step, base + outer)
            self._check_width(step, base + outer)
            return
        for need in self._needs(base):
            if self.plan.by_id[need].race not in (None, step.race):
                continue  # it may have lost, without a word when it had not begun
            assert need + at in self.ended, f"{step_id} came before {need}, which it needs"
        if step.scope is not None:
            container = self.plan.by_id[step.scope]
            self._check_open(container, step.scope + (outer if container.foreach else at))

    def _check_open(self, step: PlanStep, whole: str) -> None:
        assert whole in self.begun - self.ended, f"{step.id} is not open"

    def _check_width(self, step: PlanStep, whole: str) -> None:
        items = [name for name in self.begun - self.ended if name.startswith(whole + "[") and base_of(name) == step.id]
        most = step.foreach.max_parallel if step.foreach else None
        assert most is None or len([name for name in items if name.count("[") == whole.count("[") + 1]) <= most

    def _forget(self, loop_id: str) -> None:
        """A new round: what is inside begins anew."""
        base = base_of(loop_id)
        at = loop_id[len(base) :]
        for name in list(self.begun):
            if name[len(base_of(name)) :].startswith(at) and self._inside(base_of(name), base):
                self.begun.discard(name)
                self.ended.discard(name)

    def _inside(self, step: str, container: str) -> bool:
        scope = self.plan.by_id[step].scope
        return scope is not None and (scope == container or self._inside(scope, container))

    def _needs(self, step_id: str) -> set[str]:
        """The users' steps that a step waits for, through gates and joins."""
        found: set[str] = set()
        for need in self.plan.by_id[step_id].needs:
            found |= self._needs(need) if self.plan.by_id[need].internal else {need}
        return found
