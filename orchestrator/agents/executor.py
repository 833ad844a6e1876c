"""One attempt of a step, in five calls: claim, render, call, outcome, commit.

The executor knows no Celery. What a duplicate, late or outdated attempt wants to record is refused by the store.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.agents import loop
from orchestrator.agents.context import Context
from orchestrator.agents.failures import next_delay_ms, step_error
from orchestrator.agents.loading import AgentRegistry
from orchestrator.agents.values import encode
from orchestrator.errors import ExpressionError, LeaseLost, StepTimeout
from orchestrator.outcomes import Done
from orchestrator.records import Advance, Claim, Forward
from orchestrator.settings import Settings
from orchestrator.store.runs import Lease, RunStore
from orchestrator.workflow.expressions import render
from orchestrator.workflow.plan import PlanStep

Json = Any
log = logging.getLogger(__name__)
_LOOK_AGAIN_S = 0.5  # how often `ctx.cancelled` asks the store


class Executor:
    """Runs attempts for the agents of this process.

    Args:
        interrupts: exceptions by which the runtime stops a handler whose time is up.
    """

    def __init__(
        self,
        store: RunStore,
        registry: AgentRegistry,
        settings: Settings,
        *,
        interrupts: tuple[type[BaseException], ...] = (),
    ) -> None:
        self.store = store
        self.registry = registry
        self.settings = settings
        self.interrupts = interrupts

    def run_step(
        self, run_id: str, step_id: str, *, worker: str, forward: Forward | None = None
    ) -> Advance | None:
        """Run one attempt, if there is one to run.

        Args:
            forward: the message of the step that a chain brings next; it goes out with the commit.
        Returns:
            What the run may do next, or None: nothing to claim, or the answer came too late to count.
        """
        claim = self.store.claim_step(run_id, step_id, worker=worker, lease_ms=round(self.settings.lease_s * 1000))
        if claim is None:
            log.debug("nothing to claim: %s %s", run_id, step_id)
            return None
        started = time.monotonic()
        secrets = Secrets()
        try:
            try:
                output = self._call(claim, worker, secrets)
            except self.interrupts:
                return self._interrupted(claim, time.monotonic() - started)
            except (Exception, SystemExit) as error:  # `sys.exit` in a library must not end the worker
                return self._failed(claim, error, secrets)
            return self._committed(claim, self.store.finish_step(run_id, step_id, claim.attempt, output, forward))
        except self.interrupts:
            # The signal came while the answer was being recorded. Recording again is safe: the store takes one answer.
            return self._interrupted(claim, time.monotonic() - started)

    def _call(self, claim: Claim, worker: str, secrets: Secrets) -> str:
        step = claim.step
        task = self.registry.task(step.agent, step.task)
        values = render_with(step, {**claim.scope, "secrets": secrets}, limit_s=self.settings.max_expression_s)
        arguments = task.check_input(values, show=not secrets.told)
        if task.context_parameter:
            link = StoreLink(self.store, claim, worker, round(self.settings.lease_s * 1000))
            arguments[task.context_parameter] = Context(
                run_id=claim.run_id, step_id=claim.step_id, agent=step.agent, attempt=claim.attempt, link=link
            )
        result = loop.run(task.fn(**arguments)) if task.is_async else task.fn(**arguments)
        if isinstance(result, Done):
            result = result.output
        return encode(task.check_output(result), max_bytes=self.settings.max_output_bytes, what="the output")

    def _interrupted(self, claim: Claim, ran_s: float) -> Advance | None:
        limit_ms = claim.step.timeout_ms
        if limit_ms is not None and ran_s * 1000 >= 0.9 * limit_ms:
            return self._failed(claim, StepTimeout(f"the attempt ran longer than {limit_ms / 1000:g} s"), Secrets())
        # Not its own time-out: the run was cancelled (the store then refuses this), or the signal was meant for the
        # attempt before this one. Either way nobody is to blame, so the attempt is offered again.
        error = step_error(LeaseLost("the attempt was interrupted"), claim.step_id, claim.attempt)
        return self._committed(
            claim, self.store.fail_step(claim.run_id, claim.step_id, claim.attempt, error, retry_delay_ms=0)
        )

    def _failed(self, claim: Claim, error: BaseException, secrets: Secrets) -> Advance | None:
        stored = step_error(error, claim.step_id, claim.attempt, trace=True, redact=secrets.redact)
        log.warning("%s %s failed: %s\n%s", claim.run_id, claim.step_id, stored.type, stored.traceback)
        delay_ms = next_delay_ms(claim.step.retry, claim.failures + 1, error)
        return self._committed(
            claim, self.store.fail_step(claim.run_id, claim.step_id, claim.attempt, stored, retry_delay_ms=delay_ms)
        )

    def _committed(self, claim: Claim, advance: Advance | None) -> Advance | None:
        if advance is None:
            log.warning("%s %s attempt %d came too late to count", claim.run_id, claim.step_id, claim.attempt)
        return advance


def render_with(step: PlanStep, scope: Mapping[str, Json], *, limit_s: float) -> dict[str, Json]:
    """The values under `with` for one attempt; one expression may take `limit_s`. Raises ExpressionError."""
    try:
        values: dict[str, Json] = render(step.params, scope, limit_s=limit_s)
    except ExpressionError as error:
        raise ExpressionError(f"with: {error.message}") from None
    return values


class StoreLink:
    """The way from a running handler back to its run, by way of the store (see `context.Link`)."""

    def __init__(self, store: RunStore, claim: Claim, worker: str, lease_ms: int) -> None:
        self._store = store
        self._claim = claim
        self._worker = worker
        self._lease_ms = lease_ms
        self._cancelled = False
        self._looked_at = 0.0

    def inputs(self) -> Mapping[str, Json]:
        inputs: Mapping[str, Json] = self._store.load_scope(self._claim.run_id, (), None)["inputs"]
        return inputs

    def step(self, step_id: str) -> Mapping[str, Json]:
        if step_id not in self.step_ids():
            raise KeyError(step_id)
        view: Mapping[str, Json] = self._store.load_scope(self._claim.run_id, (step_id,), ())["steps"][step_id]
        return view

    def step_ids(self) -> tuple[str, ...]:
        return self._store.step_ids(self._claim.run_id)

    def progress(self, fraction: float | None, note: str | None) -> None:
        claim = self._claim
        if not self._store.note_progress(claim.run_id, claim.step_id, claim.attempt, fraction, note):
            self._cancelled = True

    def heartbeat(self) -> None:
        claim = self._claim
        self._looked_at = time.monotonic()
        lease = self._store.extend_lease(
            claim.run_id, claim.step_id, worker=self._worker, lease_ms=self._lease_ms, attempt=claim.attempt
        )
        if lease is not Lease.HELD:
            self._cancelled = True
            raise LeaseLost(f"attempt {claim.attempt} of {claim.step_id} does not count any more")

    def cancelled(self) -> bool:
        if not self._cancelled and time.monotonic() - self._looked_at >= _LOOK_AGAIN_S:
            try:
                self.heartbeat()
            except LeaseLost:
                pass
        return self._cancelled


class Secrets(Mapping[str, str]):
    """`secrets.NAME`, read from `ORCHESTRATOR_SECRET_NAME` of the worker when an expression asks for it.

    `told` holds the values that were asked for, so that no error of the attempt can carry them away.
    """

    _PREFIX = "ORCHESTRATOR_SECRET_"

    def __init__(self) -> None:
        self.told: set[str] = set()

    def __getitem__(self, name: str) -> str:
        value = os.environ[self._PREFIX + name]
        if value:
            self.told.add(value)
        return value

    def redact(self, text: str) -> str:
        """The text with three stars for every secret that was told, also where it is quoted as Python or JSON does."""
        for value in sorted(self.told, key=len, reverse=True):
            for form in (value, repr(value)[1:-1], json.dumps(value)[1:-1]):
                text = text.replace(form, "***")
        return text

    def __iter__(self) -> Iterator[str]:
        return (key.removeprefix(self._PREFIX) for key in os.environ if key.startswith(self._PREFIX))

    def __len__(self) -> int:
        return sum(1 for _ in self)
