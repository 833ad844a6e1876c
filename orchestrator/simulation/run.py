"""One simulated run: the loop that in reality is workers, queues and the keeper."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.agents.agent import Agent
from orchestrator.agents.decisions import Decisions, carry_on
from orchestrator.agents.submission import launch, order_run
from orchestrator.documents import reason_of
from orchestrator.errors import OrchestratorError, RunNotFound
from orchestrator.ids import base_of, visible_id
from orchestrator.messages import AgentMessage
from orchestrator.records import Advance, StepError
from orchestrator.settings import Settings
from orchestrator.simulation.fakes import Fake, FakeExecutor, mocked
from orchestrator.simulation.server import START_MS, MemoryScripts, MemoryServer
from orchestrator.states import RunState, StepState
from orchestrator.store.keys import Keys
from orchestrator.store.runs import RunStore
from orchestrator.workflow.catalog import AgentInfo, Catalog
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from orchestrator.workflow.plan import Plan, PlanStep

Json = Any
RUN_ID = "simulated"
_RANKS = {"emergency": 0, "urgent": 1, "high": 2, "medium": 3, "low": 4}


@dataclass
class SimulatedStep:
    """One step, or one item, as `RunHandle.document()` shows it. Times are virtual seconds from the start."""

    status: StepState = StepState.PENDING
    attempts: int = 0
    output: Json = None
    error: StepError | None = None
    reason: str | None = None
    started_s: float | None = None
    finished_s: float | None = None
    rounds: int | None = None


@dataclass
class SimulatedRun:
    """How the run went. `order` lists the attempts as they ran; times are virtual seconds from the start.

    `messages` holds what handlers sent, in order; `waits_for` the signals that steps still wait for, in a run that
    cannot go on without them; `unused_signals` those that nobody waited for. Steps of child runs are not among `steps`;
    in `order` they are `STEP/CHILD_STEP`.
    """

    status: RunState = RunState.RUNNING
    outputs: dict[str, Json] = field(default_factory=dict)
    error: StepError | None = None
    steps: dict[str, SimulatedStep] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    messages: list[AgentMessage] = field(default_factory=list)
    duration_s: float = 0.0
    waits_for: tuple[str, ...] = ()
    unused_signals: tuple[str, ...] = ()


def simulate(
    workflow: str | Path | Plan,
    inputs: Mapping[str, Json] | None = None,
    *,
    agents: Mapping[str, Fake] | Iterable[Agent] = (),
    mock: Mapping[str, Json] | None = None,
    signals: Mapping[str, Json] | None = None,
    settings: Settings | None = None,
) -> SimulatedRun:
    """Run a workflow with fakes.

    Args:
        workflow: a file, or a plan.
        agents: what stands in for each agent. Either agents themselves, or a mapping from `AGENT`, or `AGENT.TASK`,
            to a function of the step's `with` values, to `{task: function}`, or to the output itself. Functions may
            have a parameter `ctx`. `AGENT.message` stands for what the agent answers to `ctx.ask`.
        mock: step id, or `ID[n]` for an item, -> its output, whoever would run it; also of a step that is a child run.
            `{"$error": "text"}` fails the attempt, `{"$in_turn": [...]}` holds one of these for each attempt in turn.
        signals: name -> data, given to every step that waits for it.
    Raises:
        WorkflowInvalid: the file or the inputs have mistakes.
        UnknownAgent: a step runs whose agent has no stand-in.
    """
    settings = (settings or Settings()).model_copy(update={"traces": "off"})  # nothing happens that spans could tell of
    fakes = dict(agents) if isinstance(agents, Mapping) else {agent.name: agent for agent in agents}
    if isinstance(workflow, Plan):
        plan = workflow
    else:
        real = [fake for fake in fakes.values() if isinstance(fake, Agent)]
        others = sorted({name.partition(".")[0] for name, fake in fakes.items() if not isinstance(fake, Agent)})
        unknown = (AgentInfo(name, has_tasks_unknown=True) for name in others)
        known = Catalog((*(agent.info for agent in real), *unknown)) if real else None
        plan = compile_workflow(load_workflow(workflow, limits=settings), agents=known, limits=settings)
    return _Simulation(plan, fakes, dict(mock or {}), dict(signals or {}), settings).run(inputs or {})


class _Simulation:
    """The workers and the keeper of one run, in turn."""

    def __init__(
        self, plan: Plan, fakes: dict[str, Fake], mock: dict[str, Json], signals: dict[str, Json], settings: Settings
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._signals = signals
        self._server = MemoryServer()
        self._keys = Keys("sim:")
        self._store = RunStore(self._server, self._keys, MemoryScripts(self._server))  # type: ignore[arg-type]
        self._executor = FakeExecutor(self._store, settings, fakes, mock, self._prefix)
        self._mock = mock
        self._ready: list[tuple[int, int, str, str]] = []
        self._tickets = 0

    def run(self, inputs: Mapping[str, Json]) -> SimulatedRun:
        order = order_run(self._plan, inputs, self._settings, run_id=RUN_ID)
        _, advance = launch(self._store, order)
        self._carry_on(advance)
        while self._step():
            pass
        return self._result()

    def _step(self) -> bool:
        """One attempt, or the next thing that is due. False: nothing is left to do."""
        if self._ready:
            *_, run_id, step_id = self._ready.pop(self._ready.index(min(self._ready)))
            self._carry_on(self._executor.run_step(run_id, step_id, worker="simulated"))
            return True
        if self._store.read_run(RUN_ID).state.terminal:
            return False
        return self._signal() or self._wake()

    def _carry_on(self, advance: Advance | None) -> None:
        if advance is None:
            return
        for found in carry_on(self._store, advance, self._settings, decisions=self._decisions):
            for step in found.ready:
                plan = self._store.read_plan(found.run_id)
                priority = plan.by_id[base_of(step.step_id)].priority or found.priority
                self._tickets += 1
                self._ready.append((_RANKS[priority], self._tickets, found.run_id, step.step_id))

    @property
    def _decisions(self) -> Decisions:
        return _FakeDecisions(self._store, self._settings, self._mock)

    def _signal(self) -> bool:
        """Give one signal that a step waits for."""
        for run_id in self._runs():
            for step in self._store.read_steps(run_id).values():
                if step.signal in self._signals:
                    data = self._executor.encode(self._signals[step.signal])
                    advance, _ = self._store.signal_run(run_id, step.signal, data)
                    self._carry_on(advance)
                    return True
        return False

    def _wake(self) -> bool:
        """Move the clock on to what is due next, and do it."""
        for member, due in self._server.timers(self._keys.timers):
            kind, run_id, step_id, attempt = member.split(" ")
            self._server.now_ms = max(self._server.now_ms, round(due))
            self._server.zrem(self._keys.timers, member)
            try:
                if kind == "retry":
                    self._carry_on(self._store.wake_step(run_id, step_id, int(attempt)))
                elif kind == "decide":
                    self._carry_on(Advance(run_id, decide=(step_id,), priority=self._store.priority(run_id)))
                elif kind == "run":
                    late = StepError("RunTimeout", "the run took longer than its timeout")
                    self._carry_on(self._store.cancel_run(run_id, error=late))
            except RunNotFound:
                pass
            return True
        return False

    def _runs(self) -> list[str]:
        """The run and its children, as far as they have begun."""
        found = deque([RUN_ID])
        runs: list[str] = []
        while found:
            runs.append(found.popleft())
            found += [step.child for step in self._store.read_steps(runs[-1]).values() if step.child]
        return [run_id for run_id in runs if self._store.load_child(run_id) is not None]

    def _prefix(self, run_id: str) -> str:
        """What stands before the ids of a child run's steps in `order`."""
        run = self._store.read_run(run_id)
        if not run.parent:
            return ""
        return f"{self._prefix(run.parent)}{run.parent_step}/"

    def _result(self) -> SimulatedRun:
        run, outputs = self._store.read_run(RUN_ID), self._store.read_outputs(RUN_ID)
        records = self._store.read_steps_in_order(RUN_ID)
        steps = {
            record.id: SimulatedStep(
                status=record.state,
                attempts=record.attempts,
                output=outputs.get(record.id, outputs.get(_only(record.id)))
                if record.state is StepState.SUCCEEDED
                else None,
                error=record.error if record.state is not StepState.SUCCEEDED else None,
                reason=reason_of(record),
                started_s=_seconds(record.started_at),
                finished_s=_seconds(record.finished_at),
                rounds=record.rounds,
            )
            for record in records
        }
        waiting = [step for run_id in self._runs() for step in self._store.read_steps(run_id).values()]
        waits = tuple(dict.fromkeys(step.signal for step in waiting if step.signal))
        return SimulatedRun(
            status=run.state,
            outputs=run.outputs or {},
            error=run.error,
            steps=steps,
            order=self._executor.order,
            messages=self._executor.messages,
            duration_s=(self._server.now_ms - START_MS) / 1000,
            waits_for=() if run.state.terminal else waits,
            unused_signals=run.signals,
        )


class _FakeDecisions(Decisions):
    """As in reality, but with the agents that are there, and without the child runs that are mocked."""

    def __init__(self, store: RunStore, settings: Settings, mock: dict[str, Json]) -> None:
        super().__init__(store, settings)
        self._mock = mock

    def _least_loaded(self, step: PlanStep) -> str | None:
        return step.agent

    def _child(
        self, run_id: str, step_id: str, step: PlanStep, record: dict[str, Json], scope: dict[str, Json], turn: int
    ) -> Advance | None:
        shown = visible_id(step_id)
        found = mocked(self._mock, shown, int(record.get("failures", 0))) if run_id == RUN_ID else None
        if found is None:
            return super()._child(run_id, step_id, step, record, scope, turn)
        try:
            output = self._encode(found(), "the output")
        except OrchestratorError as error:
            return self._fail(run_id, step_id, turn, error, step, record)
        return self._store.finish_step(run_id, step_id, turn, output)


def _only(step_id: str) -> str:
    """Where the output of an item lies that has one step."""
    base = base_of(step_id)
    return f"{base}.item{step_id[len(base) :]}"


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else (ms - START_MS) / 1000
