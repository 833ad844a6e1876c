"""One attempt of a step, in five calls: claim, render, call, outcome, commit.

The executor knows no Celery. What a duplicate, late or outdated attempt wants to record is refused by the store.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from orchestrator.agents import loop
from orchestrator.agents.agent import Agent
from orchestrator.agents.context import Context
from orchestrator.agents.conversations import check_hops
from orchestrator.agents.failures import next_delay_ms, step_error
from orchestrator.agents.handler_logs import HandlerLogs
from orchestrator.agents.links import MessageLink, StoreLink
from orchestrator.agents.loading import AgentRegistry
from orchestrator.agents.mail import handle
from orchestrator.agents.post import PostOffice
from orchestrator.agents.run_spans import run_ends
from orchestrator.agents.secrets import Secrets, kept_secrets
from orchestrator.agents.spans import ended
from orchestrator.agents.step_spans import StepSpans
from orchestrator.agents.values import encode
from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.errors import (
    ExpressionError,
    HandlerOutputInvalid,
    HandlerTimeout,
    LeaseLost,
    StepTimeout,
    UnknownTask,
)
from orchestrator.logs import Subject, about
from orchestrator.messages import MessageType
from orchestrator.outcomes import Done, Handoff
from orchestrator.records import Advance, Claim, Delivery, Draft, Posted, Taker
from orchestrator.settings import Settings
from orchestrator.store.patience import ANSWER_S, insist
from orchestrator.store.routing import agent_of
from orchestrator.store.runs import RunStore
from orchestrator.workflow.catalog import TaskInfo
from orchestrator.workflow.expressions import render
from orchestrator.workflow.misfits import misfit
from orchestrator.workflow.plan import PlanStep

Json = Any
log = logging.getLogger(__name__)
_SHOWN = 500  # characters of an output that does not fit


class Executor:
    """Runs attempts for the agents of this process.

    Args:
        interrupts: exceptions by which the runtime stops a handler whose time is up.
        leaving: whether this process was told to end. What a handler raises then is no outcome of the attempt, which
            is left to whoever finds that its worker is gone.
        logs: keeps what handlers log; None: nobody does.
    """

    def __init__(
        self,
        store: RunStore,
        registry: AgentRegistry,
        settings: Settings,
        office: PostOffice,
        *,
        interrupts: tuple[type[BaseException], ...] = (),
        leaving: Callable[[], bool] = lambda: False,
        logs: HandlerLogs | None = None,
    ) -> None:
        self.store = store
        self.registry = registry
        self.settings = settings
        self.office = office
        self.interrupts = interrupts
        self.leaving = leaving
        self.logs = logs
        self._keep = None if logs is None else logs.keep
        self._spans = StepSpans.of(settings, store)
        self._lease_ms = round(settings.lease_s * 1000)
        self._kept = kept_secrets()

    def run_step(self, run_id: str, step_id: str, *, worker: str) -> Advance | None:
        """Run one attempt, if there is one to run.

        Returns:
            What the run may do next, or None: nothing to claim, or the answer came too late to count.
        """
        claim = self.claim(run_id, step_id, worker=worker)
        return None if claim is None else self.attempt(claim, worker=worker)

    def claim(self, run_id: str, step_id: str, *, worker: str) -> Claim | None:
        """The attempt at a step whose message came, or None: there is nothing to claim."""
        claim = insist(
            lambda again: self.store.claim_step(
                run_id, step_id, worker=worker, lease_ms=self._lease_ms, pid=runner_id(), again=again
            ),
            for_s=ANSWER_S,
        )
        if claim is None:
            log.debug("nothing to claim: %s %s", run_id, step_id)
        return claim

    def taker(self, worker: str, agents: tuple[str, ...]) -> Taker:
        """What this process tells the store when it takes steps of these agents by itself."""
        return Taker(worker, runner_id(), self._lease_ms, agents)

    def take(self, taker: Taker) -> Claim | None:
        """The most urgent step that waits, if this process may run it."""
        return insist(lambda again: self.store.take_step(taker, again=again), for_s=ANSWER_S, unsent=False)

    def attempt(self, claim: Claim, *, worker: str, taker: Taker | None = None) -> Advance | None:
        """Run an attempt that is claimed.

        Args:
            taker: with it, a success brings the next attempt along, as `Advance.claim`.
        Returns:
            What the run may do next, or None: the answer came too late to count.
        """
        reach(CrashPoint.LEASED)
        secrets = Secrets(self._kept)
        subject = Subject(
            claim.step.agent, claim.number, run=claim.run_id, step=claim.shown_id,
            redact=secrets.redact, keep=self._keep,
        )  # fmt: skip
        with about(subject):
            if self._spans is None:
                return self._attempt(claim, worker, taker, secrets)
            with self._spans.attempt(claim):
                advance = self._attempt(claim, worker, taker, secrets)
            if advance is not None:
                run_ends(self.settings, self.store, [advance])
            return advance

    def _attempt(self, claim: Claim, worker: str, taker: Taker | None, secrets: Secrets) -> Advance | None:
        started = time.monotonic()
        try:
            drafts: list[Draft] = []
            try:
                output = self._call(claim, worker, secrets, drafts)
            except self.interrupts:
                return self._interrupted(claim, time.monotonic() - started)
            except (Exception, SystemExit) as error:  # `sys.exit` in a library must not end the worker
                if self.leaving():
                    raise
                return self._failed(claim, error, secrets)
            if isinstance(output, Handoff):
                hands, context = self._next_hands(claim, output), secrets.redact_value(output.context)
                ended("handed_off")
                return self._committed(claim, lambda _: self.store.hand_step(claim, hands, context))
            sending = self.office.inbox.sending(drafts) if drafts else None
            advance = self._committed(
                claim,
                lambda again: self.store.finish_step(
                    claim.run_id, claim.step_id, claim.attempt, output, sending, taker, again=again
                ),
            )
            self._publish(drafts, advance)
            return advance
        except self.interrupts:
            # The signal came while the answer was being recorded. Recording again is safe: the store takes one answer.
            return self._interrupted(claim, time.monotonic() - started)

    def run_message(self, box: str, *, worker: str, ring: str) -> list[Posted]:
        """Handle the most urgent message of an inbox, if there is one.

        Args:
            ring: the ring that came for it.
        Returns:
            What was stored, for whoever publishes rings.
        """
        delivery = insist(
            lambda again: self.office.inbox.claim(
                [box], receiver=worker, lease_ms=self._lease_ms, ring=ring, again=again
            ),
            for_s=ANSWER_S,
        )
        if delivery is None:
            return []
        return self.hear(delivery)

    def take_message(self, taker: Taker) -> Delivery | None:
        """The most urgent message that waits, if this process may handle it."""
        return insist(lambda again: self.office.inbox.take(taker, again=again), for_s=ANSWER_S, unsent=False)

    def hear(self, delivery: Delivery) -> list[Posted]:
        """Handle a message that is claimed. Returns as `run_message`."""
        reach(CrashPoint.LEASED)
        agent = self.registry.get(agent_of(delivery.box))
        secrets = Secrets(self._kept)
        handler = partial(self._hear_in_time, agent, secrets)
        return handle(self.office.inbox, self.settings, delivery, handler, secrets, leaving=self.leaving)

    def _hear_in_time(self, agent: Agent, secrets: Secrets, delivery: Delivery, drafts: list[Draft]) -> Json:
        try:
            return self._hear(agent, secrets, delivery, drafts)
        except self.interrupts:
            raise HandlerTimeout(f"the handler ran longer than {self.settings.message_timeout_s or 0:g} s") from None

    def _hear(self, agent: Agent, secrets: Secrets, delivery: Delivery, drafts: list[Draft]) -> Json:
        """Call the handler of a message, or the task of a handoff."""
        message = delivery.message
        link = MessageLink(self.office, agent.name, message, drafts, secrets)
        ctx = Context(message_id=message.message_id, agent=agent.name, attempt=delivery.attempt, link=link)
        if delivery.task and (delivery.task in agent.tasks or not agent.ear(MessageType.HANDOFF)):
            return self._work(agent, delivery.task, message.body, ctx)
        ear = agent.ear(message.message_type)
        if ear is None:
            raise UnknownTask(f"agent {agent.name} has no handler for messages of type {message.message_type}")
        arguments = {ear.context_parameter: ctx} if ear.context_parameter else {}
        return loop.settle(ear.fn(message, **arguments))

    def _work(self, agent: Agent, name: str, offer: Json, ctx: Context) -> Json:
        task = self.registry.task(agent.name, name)
        arguments = task.check_input(fitting(task.info, offer))
        if task.context_parameter:
            arguments[task.context_parameter] = ctx
        return task.check_output(loop.settle(task.fn(**arguments)))

    def _publish(self, drafts: list[Draft], advance: Advance | None) -> None:
        """Send the rings of what the handler sent, where the script could not."""
        if drafts and advance is not None:
            self.office.carry(self.office.inbox.posted(drafts, advance.posted))

    def _call(self, claim: Claim, worker: str, secrets: Secrets, drafts: list[Draft]) -> str | Handoff:
        step = claim.step
        task = self.registry.task(step.agent, step.task)
        values = render_with(step, {**claim.scope, "secrets": secrets}, limit_s=self.settings.max_expression_s)
        if claim.context is not None:
            values = fitting(task.info, {"with": {**values, **claim.context}, "context": claim.context})
        arguments = task.check_input(values, show=not secrets.told)
        if task.context_parameter:
            link = StoreLink(self.store, claim, worker, self._lease_ms, self.office, drafts, secrets)
            arguments[task.context_parameter] = Context(
                run_id=claim.run_id,
                step_id=claim.shown_id,
                agent=step.agent,
                attempt=claim.number,
                link=link,
                idempotency_key=claim.idempotency_key,
            )
        reach(CrashPoint.HANDLER_BEGUN)
        result = loop.settle(task.fn(**arguments))
        reach(CrashPoint.EFFECT_DONE)
        if isinstance(result, Done):
            result = result.output
        if isinstance(result, Handoff):
            encode(result.context, max_bytes=self.settings.max_output_bytes, what="the context of the handoff")
            self._next_hands(claim, result)  # a mistake in it is the handler's
            if claim.context is not None:  # it was handed over before
                check_hops([*self.store.load_step(claim.run_id, claim.step_id)[1]["hands"], result.to])
            return result
        return self._recorded(step, task.check_output(result, show=not secrets.told), secrets)

    def _recorded(self, step: PlanStep, output: Json, secrets: Secrets) -> str:
        """The output as it is stored: JSON text without secrets."""
        text = secrets.redact_json(encode(output, max_bytes=self.settings.max_output_bytes, what="the output"))
        check_schema(step, text)
        return text

    def _next_hands(self, claim: Claim, handoff: Handoff) -> PlanStep:
        """The step on the agent that goes on with it. Raises UnknownAgent, UnknownTask."""
        step: PlanStep = claim.step
        agent, task = self.office.hands(handoff.to, handoff.task, step.task)
        return replace(step, agent=agent, task=task)

    def _interrupted(self, claim: Claim, ran_s: float) -> Advance | None:
        limit_ms = claim.step.timeout_ms
        if limit_ms is not None and ran_s * 1000 >= 0.9 * limit_ms:
            late = StepTimeout(f"the attempt ran longer than {limit_ms / 1000:g} s")
            return self._failed(claim, late, Secrets(self._kept))
        # Not its own time-out: the run was cancelled (the store then refuses this), or the signal was meant for the
        # attempt before this one. Either way nobody is to blame, so the attempt is offered again.
        lost = LeaseLost("the attempt was interrupted")
        ended("interrupted", lost)
        error = step_error(lost, claim.shown_id, claim.number)
        return self._committed(
            claim, lambda _: self.store.fail_step(claim.run_id, claim.step_id, claim.attempt, error, retry_delay_ms=0)
        )

    def _failed(self, claim: Claim, error: BaseException, secrets: Secrets) -> Advance | None:
        stored = step_error(error, claim.shown_id, claim.number, trace=True, redact=secrets.redact)
        log.warning("%s %s failed: %s\n%s", claim.run_id, claim.step_id, stored.type, stored.traceback)
        delay_ms = next_delay_ms(claim.step.retry, claim.failures + 1, error)
        ended("failed" if delay_ms is None else "retrying", error)
        return self._committed(
            claim,
            lambda _: self.store.fail_step(claim.run_id, claim.step_id, claim.attempt, stored, retry_delay_ms=delay_ms),
        )

    def _committed(self, claim: Claim, record: Callable[[bool], Advance | None]) -> Advance | None:
        """Record the outcome, for as long as the server is away; the store takes one answer of an attempt."""
        if self.logs is not None:
            self.logs.flush()  # first, so that the log is there for whoever hears that the step is over
        advance = insist(record, for_s=ANSWER_S)
        reach(CrashPoint.RESULT_RECORDED)
        if advance is None:
            ended("superseded")
            log.warning("LeaseLost: attempt %d of %s %s came too late", claim.number, claim.run_id, claim.shown_id)
        return advance


def runner_id() -> int:
    """What runs one attempt at a time: a process of the pool, or a thread of it."""
    alone = threading.current_thread() is threading.main_thread()
    return os.getpid() if alone else threading.get_native_id()


def check_schema(step: PlanStep, text: str) -> None:
    """Raises HandlerOutputInvalid: the output (JSON text) does not fit the step's `output_schema`."""
    if step.output_schema is not None and (wrong := misfit(step.output_schema, json.loads(text))):
        shown = f"is {text}" if len(text) <= _SHOWN else f"begins {text[:_SHOWN]}"
        raise HandlerOutputInvalid(f"the output does not fit output_schema: {wrong}; it {shown}")


def fitting(task: TaskInfo, offer: Mapping[str, Json]) -> dict[str, Json]:
    """The values of a handoff that the task has parameters for; `context` is one of them if the task names it."""
    values = {"context": offer.get("context"), **offer.get("with", {})}
    if task.accepts_any:
        return values
    return {name: value for name, value in values.items() if name in task.params}


def render_with(step: PlanStep, scope: Mapping[str, Json], *, limit_s: float) -> dict[str, Json]:
    """The values under `with` for one attempt; one expression may take `limit_s`. Raises ExpressionError."""
    try:
        values: dict[str, Json] = render(step.params, scope, limit_s=limit_s)
    except ExpressionError as error:
        raise ExpressionError(f"with: {error.message}") from None
    return values
