"""`simulate`: run a workflow in this process, with fakes for its agents, no server and a virtual clock.

It uses the same compiler, expressions, policies and input checks as the real engine; only the bookkeeping that the
store's scripts do is written again here, and a property test holds the two against each other.
"""

from __future__ import annotations

import heapq
import inspect
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.agents import loop
from orchestrator.agents.agent import Agent
from orchestrator.agents.context import Context
from orchestrator.agents.decisions import OUTPUTS, collect_items, foreach_items
from orchestrator.agents.drafts import draft_message
from orchestrator.agents.executor import Secrets, fitting, render_with
from orchestrator.agents.failures import next_delay_ms, step_error
from orchestrator.agents.values import encode
from orchestrator.errors import OrchestratorError, UnknownAgent
from orchestrator.messages import AgentMessage, MessageType
from orchestrator.outcomes import Done, Handoff
from orchestrator.records import StepError
from orchestrator.settings import Settings
from orchestrator.states import RunState, StepState
from orchestrator.workflow.catalog import AgentInfo, Catalog
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.expressions import evaluate_bool, render
from orchestrator.workflow.inputs import check_inputs
from orchestrator.workflow.loader import load_workflow
from orchestrator.workflow.plan import Plan, PlanStep

Json = Any
Fake = Agent | Callable[..., Any] | Mapping[str, Callable[..., Any]] | Json


@dataclass
class SimulatedStep:
    """One step, or one item, as `RunHandle.document()` shows it."""

    status: StepState = StepState.PENDING
    attempts: int = 0
    failures: int = 0
    output: Json = None
    error: StepError | None = None
    reason: str | None = None
    started_s: float | None = None
    finished_s: float | None = None


@dataclass
class SimulatedRun:
    """How the run went. `order` lists the attempts as they ran; times are virtual seconds from the start.

    `messages` holds what handlers sent, in order.
    """

    status: RunState = RunState.RUNNING
    outputs: dict[str, Json] = field(default_factory=dict)
    error: StepError | None = None
    steps: dict[str, SimulatedStep] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    messages: list[AgentMessage] = field(default_factory=list)
    duration_s: float = 0.0


def simulate(
    workflow: str | Path | Plan,
    inputs: Mapping[str, Json] | None = None,
    *,
    agents: Mapping[str, Fake] | Iterable[Agent] = (),
    settings: Settings | None = None,
) -> SimulatedRun:
    """Run a workflow with fakes.

    Args:
        workflow: a file, or a plan.
        agents: what stands in for each agent. Either agents themselves, or a mapping from `AGENT`, or `AGENT.TASK`,
            to a function of the step's `with` values, to `{task: function}`, or to the output itself. Functions may
            have a parameter `ctx`. `AGENT.message` stands for what the agent answers to `ctx.ask`.
    Raises:
        WorkflowInvalid: the file or the inputs have mistakes.
        UnknownAgent: a step runs whose agent has no stand-in.
    """
    settings = settings or Settings()
    fakes = dict(agents) if isinstance(agents, Mapping) else {agent.name: agent for agent in agents}
    if isinstance(workflow, Plan):
        plan = workflow
    else:
        real = [fake for fake in fakes.values() if isinstance(fake, Agent)]
        others = sorted({name.partition(".")[0] for name, fake in fakes.items() if not isinstance(fake, Agent)})
        unknown = (AgentInfo(name, has_tasks_unknown=True) for name in others)
        known = Catalog((*(agent.info for agent in real), *unknown)) if real else None
        plan = compile_workflow(load_workflow(workflow, limits=settings), agents=known, limits=settings)
    return _Simulation(plan, check_inputs(plan, dict(inputs or {})), fakes, settings).run()


class _Simulation:
    """The bookkeeping of one run: what `store/lua/_lib.lua` does, in Python."""

    def __init__(self, plan: Plan, inputs: dict[str, Json], fakes: Mapping[str, Fake], settings: Settings) -> None:
        self.plan = plan
        self.inputs = inputs
        self.fakes = fakes
        self.settings = settings
        self.result = SimulatedRun(steps={step.id: SimulatedStep() for step in plan.steps if not step.internal})
        self.steps: dict[str, SimulatedStep] = {step.id: SimulatedStep() for step in plan.steps}
        self.done_needs = dict.fromkeys(self.steps, 0)
        self.items: dict[str, list[Json]] = {}
        self.cursor: dict[str, int] = {}
        self.failure: dict[str, StepError] = {}
        self.closing: StepError | None = None
        self.now_s = 0.0
        self.ready: deque[str] = deque()
        self.timers: list[tuple[float, int, str]] = []
        self.ticket = itertools.count()

    def run(self) -> SimulatedRun:
        for step_id in self.plan.entry:
            self._arrive(self.plan.by_id[step_id])
        limit_s = self.plan.timeout_ms / 1000 if self.plan.timeout_ms else None
        while not self.closing and (self.ready or self.timers):
            if self.ready:
                self._attempt(self.ready.popleft())
                continue
            due_s, _, step_id = heapq.heappop(self.timers)
            if limit_s is not None and due_s > limit_s:
                self.now_s = limit_s
                self.closing = StepError("RunTimeout", "the run took longer than its timeout")
                break
            self.now_s = due_s
            self._offer(step_id)
        return self._end()

    # --- the graph -------------------------------------------------------------------------------------------

    def _arrive(self, step: PlanStep) -> None:
        reason = self._refusal(step)
        if reason is not None:
            self._skip(step, reason)
        elif step.kind == "join":
            self._close(step.id, self._join_state(step))
            self._settle(step)
        elif step.dispatched:
            self._offer(step.id)
        else:
            self._decide(step)

    def _refusal(self, step: PlanStep) -> str | None:
        if step.gate and self.steps[step.gate].status is StepState.SKIPPED:
            return f"its container {step.gate} was skipped"
        states = [self.steps[need].status for need in step.needs]
        failed, skipped, all_needs = states.count(StepState.FAILED), states.count(StepState.SKIPPED), len(states)
        if step.run_if == "all_success" and failed + skipped:
            return f"run_if all_success: {failed} failed and {skipped} skipped of {all_needs} needs"
        if step.run_if == "any_success" and failed + skipped == all_needs:
            return f"run_if any_success: none of {all_needs} needs succeeded"
        return None

    def _join_state(self, step: PlanStep) -> StepState:
        states = [self.steps[need].status for need in step.needs]
        if StepState.FAILED in states:
            return StepState.FAILED
        return StepState.SKIPPED if set(states) == {StepState.SKIPPED} else StepState.SUCCEEDED

    def _settle(self, step: PlanStep) -> None:
        for follower in step.next:
            self.done_needs[follower] += 1
            graph = self.plan.by_id[follower]
            if self.done_needs[follower] == len(graph.needs) and not self.closing:
                self._arrive(graph)

    def _skip(self, step: PlanStep, reason: str) -> None:
        self.steps[step.id].reason = reason
        self._close(step.id, StepState.SKIPPED)
        self._settle(step)

    def _close(self, step_id: str, state: StepState) -> None:
        self.steps[step_id].status = state
        self.steps[step_id].finished_s = self.now_s

    def _offer(self, step_id: str) -> None:
        self.steps[step_id].status = StepState.PENDING
        self.ready.append(step_id)

    # --- decisions -------------------------------------------------------------------------------------------

    def _decide(self, step: PlanStep) -> None:
        scope = self._scope()
        try:
            if step.when is not None and not evaluate_bool(step.when, scope):
                self._skip(step, "its when is false")
            elif step.kind == "set":
                self._succeed(step.id, render(step.values, scope))
            elif step.foreach is not None:
                self._open(step, [json.loads(item) for item in foreach_items(step.foreach, scope, self.settings)])
            elif step.kind == "gate":
                self._succeed(step.id, None)
            else:
                self._offer(step.id)
        except OrchestratorError as error:
            self._fail(step.id, step_error(error, step.id))

    def _open(self, step: PlanStep, items: list[Json]) -> None:
        assert step.foreach
        self.items[step.id] = items
        self.steps[step.id].status = StepState.RUNNING
        self.steps[step.id].started_s = self.now_s
        self.cursor[step.id] = min(step.foreach.max_parallel or len(items), len(items))
        for index in range(len(items)):
            self.steps[f"{step.id}[{index}]"] = SimulatedStep()
        for index in range(self.cursor[step.id]):
            self._offer(f"{step.id}[{index}]")
        if not items:
            self._collect(step)

    def _settle_item(self, step: PlanStep, error: StepError | None) -> None:
        assert step.foreach
        ids = [f"{step.id}[{index}]" for index in range(len(self.items[step.id]))]
        if error and step.foreach.on_item_error == "fail" and step.id not in self.failure:
            self.failure[step.id] = error
            for item in ids[: self.cursor[step.id]]:
                if not self.steps[item].status.terminal:
                    self._close(item, StepState.CANCELLED)
        elif self.cursor[step.id] < len(ids) and step.id not in self.failure:
            self.cursor[step.id] += 1
            self._offer(ids[self.cursor[step.id] - 1])
        if all(self.steps[item].status.terminal for item in ids[: self.cursor[step.id]]):
            self._collect(step)

    def _collect(self, step: PlanStep) -> None:
        if step.id in self.failure:
            self._fail(step.id, self.failure[step.id])
            return
        assert step.foreach
        items = [self._view(self.steps[f"{step.id}[{index}]"]) for index in range(len(self.items[step.id]))]
        self._succeed(step.id, collect_items(items, step.foreach.on_item_error))

    # --- attempts --------------------------------------------------------------------------------------------

    def _attempt(self, step_id: str) -> None:
        record = self.steps[step_id]
        if record.status is not StepState.PENDING:
            return
        base, bracket, rest = step_id.partition("[")
        step = self.plan.by_id[base]
        scope = self._scope() | {"secrets": Secrets()}
        if bracket:
            index = int(rest[:-1])
            scope |= {"item": self.items[base][index], "index": index}
        record.status = StepState.RUNNING
        record.attempts += 1
        record.started_s = self.now_s if record.started_s is None else record.started_s
        self.result.order.append(step_id)
        try:
            values = render_with(step, scope, limit_s=self.settings.max_expression_s)
            self._succeed(step_id, self._call(step, step_id, record.attempts, values))
        except UnknownAgent:
            raise
        except (Exception, SystemExit) as error:
            self._failed(step, step_id, error)

    def _failed(self, step: PlanStep, step_id: str, error: BaseException) -> None:
        record = self.steps[step_id]
        record.failures += 1
        delay_ms = next_delay_ms(step.retry, record.failures, error)
        if delay_ms is None:
            self._fail(step_id, step_error(error, step_id, record.attempts))
            return
        record.status = StepState.WAITING
        heapq.heappush(self.timers, (self.now_s + delay_ms / 1000, next(self.ticket), step_id))

    def _succeed(self, step_id: str, output: Json) -> None:
        text = encode(output, max_bytes=self.settings.max_output_bytes, what="the output")
        self.steps[step_id].output = json.loads(text)
        self._close(step_id, StepState.SUCCEEDED)
        self._after(step_id, None)

    def _fail(self, step_id: str, error: StepError) -> None:
        self.steps[step_id].error = error
        self._close(step_id, StepState.FAILED)
        self._after(step_id, error)

    def _after(self, step_id: str, error: StepError | None) -> None:
        base, bracket, _ = step_id.partition("[")
        step = self.plan.by_id[base]
        if bracket:
            self._settle_item(step, error)
        elif error is None or step.on_error == "continue":
            self._settle(step)
        else:
            self.closing = self.closing or error

    def _call(self, step: PlanStep, step_id: str, attempt: int, values: dict[str, Json]) -> Json:
        agent, task = step.agent or "", step.task or ""
        fake = self.fakes.get(f"{agent}.{task}", self.fakes.get(agent, _MISSING))
        if fake is _MISSING:
            raise UnknownAgent(f"step {step.id!r} runs on agent {agent!r}, which has no stand-in")
        return self._hand_on(step, step_id, attempt, values, self._answer(fake, agent, task, step_id, attempt, values))

    def _hand_on(
        self, step: PlanStep, step_id: str, attempt: int, values: dict[str, Json], result: Json
    ) -> Json:
        """Follow a handoff to the agent that goes on with the step."""
        if not isinstance(result, Handoff):
            return result
        record = self.steps[step_id]
        record.attempts += 1
        fake = self.fakes.get(result.to, _MISSING)
        task = result.task or step.task
        if isinstance(fake, Agent):
            if task not in fake.tasks and result.task is None and len(fake.tasks) == 1:
                task = next(iter(fake.tasks))
            offer = {"with": {**values, **result.context}, "context": result.context}
            values = fitting(fake.tasks[str(task)].info, offer)
        else:
            values = {**values, **result.context}
        return self._call(replace(step, agent=result.to, task=task), step_id, attempt + 1, values)

    def _answer(
        self, fake: Fake, agent: str, task: str, step_id: str, attempt: int, values: dict[str, Json]
    ) -> Json:
        context = Context(run_id="simulated", step_id=step_id, agent=agent, attempt=attempt, link=_Link(self, agent))
        if isinstance(fake, Agent):
            declared = fake.tasks[task]
            arguments = declared.check_input(values)
            if declared.context_parameter:
                arguments[declared.context_parameter] = context
            result = loop.run(declared.fn(**arguments)) if declared.is_async else declared.fn(**arguments)
            result = result.output if isinstance(result, Done) else result
            if isinstance(result, Handoff):
                return result
            return declared.check_output(result)
        if isinstance(fake, Mapping) and fake and all(callable(value) for value in fake.values()):
            fake = fake[task]
        if not callable(fake):
            return fake
        arguments = values | ({"ctx": context} if "ctx" in inspect.signature(fake).parameters else {})
        result = fake(**arguments)
        result = loop.run(result) if inspect.iscoroutine(result) else result
        return result.output if isinstance(result, Done) else result

    # --- values ----------------------------------------------------------------------------------------------

    def _scope(self) -> dict[str, Json]:
        return {
            "run": {"id": "simulated", "workflow": self.plan.name, "error": None},
            "inputs": self.inputs,
            "steps": {step_id: self._view(step) for step_id, step in self.steps.items() if "[" not in step_id},
        }

    @staticmethod
    def _view(step: SimulatedStep) -> dict[str, Json]:
        error = step.error.to_json() if step.error else None
        return {"output": step.output, "status": step.status.value, "error": error, "attempts": step.attempts}

    def _end(self) -> SimulatedRun:
        result = self.result
        if self.closing is None and self.plan.outputs is not None:
            try:
                result.outputs = render(self.plan.outputs, self._scope())
            except OrchestratorError as error:
                self.closing = StepError(type(error).__name__, f"{OUTPUTS[1:]}: {error.message}")
        for step in self.steps.values():
            if not step.status.terminal:
                step.status = StepState.CANCELLED
        internal = {step.id for step in self.plan.steps if step.internal}
        result.steps = {step_id: step for step_id, step in self.steps.items() if step_id not in internal}
        result.status = RunState.FAILED if self.closing else RunState.SUCCEEDED
        result.error = self.closing
        result.duration_s = self.now_s
        return result


_MISSING = object()


class _Link:
    """A handler's way back to a simulated run (see `context.Link`)."""

    def __init__(self, simulation: _Simulation, agent: str) -> None:
        self._simulation = simulation
        self._agent = agent

    def inputs(self) -> Mapping[str, Json]:
        return self._simulation.inputs

    def step(self, step_id: str) -> Mapping[str, Json]:
        return self._simulation._view(self._simulation.steps[step_id])

    def step_ids(self) -> tuple[str, ...]:
        return tuple(self._simulation.result.steps)

    def progress(self, fraction: float | None, note: str | None) -> None: ...

    def heartbeat(self) -> None: ...

    def cancelled(self) -> bool:
        return False

    def send(self, to: str, content: Json, options: Mapping[str, Any]) -> str:
        draft = draft_message(self._simulation.settings, to=to, sender=self._agent, content=content, **options)
        self._simulation.result.messages.append(draft.message)
        return draft.message.message_id

    def ask(self, to: str, content: Json, timeout_s: float, options: Mapping[str, Any]) -> Json:
        self.send(to, content, options)
        fake = self._simulation.fakes.get(f"{to}.message", _MISSING)
        if fake is _MISSING:
            raise UnknownAgent(f"a handler asks agent {to!r}: give its answer as {to + '.message'!r}")
        return fake(self._simulation.result.messages[-1]) if callable(fake) else fake

    def handoff(self, to: str, task: str, values: Mapping[str, Json], options: Mapping[str, Any]) -> str:
        return self.send(to, {"task": task, "with": dict(values)}, {"message_type": MessageType.HANDOFF})
