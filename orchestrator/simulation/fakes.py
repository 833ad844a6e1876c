"""What stands in for agents: functions, outputs, or agents themselves, called as the executor calls handlers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.agents import loop
from orchestrator.agents.agent import Agent
from orchestrator.agents.context import Context
from orchestrator.agents.drafts import draft_message
from orchestrator.agents.executor import Executor, fitting, render_with
from orchestrator.agents.secrets import Secrets
from orchestrator.agents.values import encode
from orchestrator.errors import OrchestratorError, UnknownAgent
from orchestrator.ids import base_of
from orchestrator.messages import AgentMessage, MessageType
from orchestrator.outcomes import Done, Handoff
from orchestrator.records import Advance, Claim, Draft
from orchestrator.settings import Settings
from orchestrator.store.runs import RunStore
from orchestrator.workflow.plan import PlanStep

Json = Any
Fake = Agent | Callable[..., Any] | Mapping[str, Callable[..., Any]] | Json
_MISSING = object()


class MockedError(OrchestratorError):
    """A mock says that the attempt fails."""


class NoStandIn(BaseException):
    """A step runs whose agent has no stand-in. No error of the step: it ends the simulation."""


def mocked(mock: Mapping[str, Json], step_id: str, turn: int) -> Callable[[], Json] | None:
    """What a mock says about an attempt: a function that gives the output or raises. None: it says nothing.

    Args:
        turn: the attempts before this one.
    """
    found = mock.get(step_id, mock.get(base_of(step_id), _MISSING))
    if found is _MISSING:
        return None
    if isinstance(found, dict) and isinstance(turns := found.get("$in_turn"), list) and turns:
        found = turns[min(turn, len(turns) - 1)]
    if isinstance(found, dict) and "$error" in found:
        message = str(found["$error"])

        def fail() -> Json:
            raise MockedError(message)

        return fail
    return lambda: found


class FakeExecutor(Executor):
    """Runs attempts with stand-ins; notes what ran and what was sent."""

    def __init__(
        self, store: RunStore, settings: Settings, fakes: dict[str, Fake], mock: dict[str, Json],
        prefix: Callable[[str], str],
    ) -> None:  # fmt: skip
        super().__init__(store, None, settings, None)  # type: ignore[arg-type]  # no registry, no office: see `_call`
        self._fakes = fakes
        self._mock = mock
        self._prefix = prefix
        self.order: list[str] = []
        self.messages: list[AgentMessage] = []

    def encode(self, value: Json) -> str:
        """The value as JSON text, within the limit for outputs."""
        return encode(value, max_bytes=self.settings.max_output_bytes, what="the output")

    def run_step(self, run_id: str, step_id: str, *, worker: str) -> Advance | None:
        try:
            return super().run_step(run_id, step_id, worker=worker)
        except NoStandIn as missing:
            raise UnknownAgent(str(missing)) from None

    def _call(self, claim: Claim, worker: str, secrets: Secrets, drafts: list[Draft]) -> str | Handoff:
        prefix = self._prefix(claim.run_id)
        shown = claim.shown_id
        self.order.append(prefix + shown)
        step = claim.step
        values = render_with(step, {**claim.scope, "secrets": secrets}, limit_s=self.settings.max_expression_s)
        answer = None if prefix else mocked(self._mock, shown, claim.attempt - 1)
        result = answer() if answer is not None else self._ask(claim, step, values)
        result = result.output if isinstance(result, Done) else result
        if isinstance(result, Handoff):
            return result
        return self._recorded(step, result, secrets)

    def _next_hands(self, claim: Claim, handoff: Handoff) -> PlanStep:
        step: PlanStep = claim.step
        fake = self._fakes.get(handoff.to)
        task = handoff.task or step.task
        if isinstance(fake, Agent) and task not in fake.tasks and handoff.task is None and len(fake.tasks) == 1:
            task = next(iter(fake.tasks))
        return replace(step, agent=handoff.to, task=task)

    def _ask(self, claim: Claim, step: PlanStep, values: dict[str, Json]) -> Json:
        agent, task = step.agent or "", step.task or ""
        fake = self._fakes.get(f"{agent}.{task}", self._fakes.get(agent, _MISSING))
        if fake is _MISSING:
            shown = self._prefix(claim.run_id) + claim.shown_id
            raise NoStandIn(f"step {shown!r} runs on agent {agent!r}, which has no stand-in")
        if claim.context is not None:
            offer = {"with": {**values, **claim.context}, "context": claim.context}
            values = fitting(fake.tasks[task].info, offer) if isinstance(fake, Agent) else offer["with"]
        context = Context(
            run_id=claim.run_id, step_id=claim.shown_id, agent=agent, attempt=claim.number,
            link=_Link(self, claim, agent), idempotency_key=claim.idempotency_key,
        )  # fmt: skip
        if isinstance(fake, Agent):
            declared = fake.tasks[task]
            arguments = declared.check_input(values)
            if declared.context_parameter:
                arguments[declared.context_parameter] = context
            result = loop.settle(declared.fn(**arguments))
            result = result.output if isinstance(result, Done) else result
            return result if isinstance(result, Handoff) else declared.check_output(result)
        if isinstance(fake, Mapping) and fake and all(callable(value) for value in fake.values()):
            fake = fake[task]
        if not callable(fake):
            return fake
        arguments = values | ({"ctx": context} if "ctx" in inspect.signature(fake).parameters else {})
        return loop.settle(fake(**arguments))


class _Link:
    """A handler's way back to a simulated run (see `context.Link`)."""

    def __init__(self, executor: FakeExecutor, claim: Claim, agent: str) -> None:
        self._executor = executor
        self._claim = claim
        self._agent = agent

    def inputs(self) -> Mapping[str, Json]:
        inputs: Mapping[str, Json] = self._executor.store.load_run_scope(self._claim.run_id)["inputs"]
        return inputs

    def step(self, step_id: str) -> Mapping[str, Json]:
        if step_id not in self.step_ids():
            raise KeyError(step_id)
        return self._executor.store.load_view(self._claim.run_id, step_id, beside=self._claim.step_id)

    def step_ids(self) -> tuple[str, ...]:
        return self._executor.store.step_ids(self._claim.run_id)

    def progress(self, fraction: float | None, note: str | None) -> None: ...

    def heartbeat(self) -> None: ...

    def cancelled(self) -> bool:
        return False

    def send(self, to: str, content: Json, options: Mapping[str, Any]) -> str:
        executor = self._executor
        draft = draft_message(executor.settings, to=to, sender=self._agent, content=content, **options)
        executor.messages.append(draft.message)
        return draft.message.message_id

    def ask(self, to: str, content: Json, timeout_s: float, options: Mapping[str, Any]) -> Json:
        self.send(to, content, options)
        fake = self._executor._fakes.get(f"{to}.message", _MISSING)
        if fake is _MISSING:
            raise NoStandIn(f"a handler asks agent {to!r}: give its answer as {to + '.message'!r}")
        return fake(self._executor.messages[-1]) if callable(fake) else fake

    def handoff(self, to: str, task: str, values: Mapping[str, Json], options: Mapping[str, Any]) -> str:
        return self.send(to, {"task": task, "with": dict(values)}, {"message_type": MessageType.HANDOFF})
