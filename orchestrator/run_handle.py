"""`RunHandle`: one run, to look at, wait for and steer. Every call has the client's deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.agents.rerun import Rerun, plan_rerun
from orchestrator.agents.values import encode
from orchestrator.documents import run_document
from orchestrator.errors import (
    ApprovalNotAllowed,
    Problem,
    RunFailed,
    RunNotFound,
    RunOver,
    UnknownStep,
    WaitTimeout,
    WorkflowInvalid,
)
from orchestrator.ids import base_of
from orchestrator.records import Event, LogLine, RunRecord, StepError, StepRecord
from orchestrator.states import RunState
from orchestrator.store.connection import guard
from orchestrator.store.run_log import BEGINNING
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.plan import Plan

if TYPE_CHECKING:
    from orchestrator.client import Client

Json = Any
BLOCK_MS = 500  # how long one read waits on the server before looking at the clock


class RunHandle:
    """One run: look at it, wait for it, steer it."""

    def __init__(self, client: Client, run_id: str) -> None:
        self.id = run_id
        self._client = client

    def __repr__(self) -> str:
        return f"RunHandle({self.id!r})"

    def status(self) -> RunState:
        """Where the run is."""
        return self.record().state

    def record(self) -> RunRecord:
        """The run without its steps. Raises RunNotFound."""
        with self._client.asking():
            return self._client.store.read_run(self.id)

    def steps(self) -> list[StepRecord]:
        """The steps that users see, in the order of the plan, those not reached yet included."""
        with self._client.asking():
            return self._client.store.read_steps_in_order(self.id)

    def document(self) -> dict[str, Json]:
        """`{run_id, workflow, status, outputs, error, steps: {id: {status, agent, attempts, ...}}, ...}`."""
        with self._client.asking():
            store = self._client.store
            return run_document(
                store.read_run(self.id), store.read_steps_in_order(self.id), store.read_outputs(self.id)
            )

    def events(self, follow: bool = False, *, after: str = BEGINNING) -> Iterator[Event]:
        """What happened, in order; with `follow`, also what happens, until the run ends.

        Args:
            after: the id of an event; those up to it are left out.
        """
        with guard(self._client.url):
            if self.record().state.terminal or not follow:
                yield from self._client.store.read_events(self.id, after=after)
            else:
                store, blocking = self._client.store, self._client.blocking
                followed = store.follow_events(blocking, self.id, after=after, block_ms=BLOCK_MS)
                yield from (event for event in followed if event is not None)

    def logs(self, step: str | None = None, follow: bool = False, *, after: str = BEGINNING) -> Iterator[LogLine]:
        """What handlers have logged, in order; with `follow`, also what they log, until the run ends.

        Args:
            step: only of this step; of a foreach, of all its items.
            after: the id of a line; those up to it are left out.
        Raises:
            RunNotFound. UnknownStep: with near names.
        """
        with self._client.asking():
            if step is not None:
                self._check_step(step)
            over = self.record().state.terminal
        lines = self._client.run_log.read_all(self.id, after) if over or not follow else self._follow_log(after)
        return self._lines_of(step, lines)

    def logs_dropped(self) -> int:
        """How many of the oldest lines are not kept any more."""
        with self._client.asking():
            return self._client.run_log.dropped(self.id)

    def _lines_of(self, step: str | None, lines: Iterator[LogLine]) -> Iterator[LogLine]:
        with guard(self._client.url):
            yield from (line for line in lines if step is None or line.step == step or line.step.startswith(f"{step}["))

    def _follow_log(self, after: str) -> Iterator[LogLine]:
        log, over = self._client.run_log, False
        while True:
            lines = log.wait(self._client.blocking, self.id, after, 1 if over else BLOCK_MS)
            yield from lines
            if lines:
                after = lines[-1].id
            elif over:
                return
            else:
                over = self.record().state.terminal  # what was logged before that is read once more

    def _check_step(self, step: str) -> None:
        known = set(self._client.store.read_plan(self.id).by_id)
        if base_of(step) not in known:
            shown = sorted(name for name in known if "." not in name)
            near = did_you_mean(step, shown) or f"; there is {listed(shown)}"
            raise UnknownStep(f"run {self.id} has no step {step!r}{near}")

    def result(self, timeout_s: float | None = None) -> dict[str, Json]:
        """Wait for the end of the run and return its outputs.

        Raises:
            RunFailed: it failed or was cancelled; `error` and `status` say how.
            WaitTimeout: not over after `timeout_s` seconds; the run goes on.
        """
        run = self.wait(timeout_s)
        if run.state is not RunState.SUCCEEDED:
            reason = f": {run.error.message}" if run.error else ""
            where = f" in step {run.error.step}" if run.error and run.error.step else ""
            raise RunFailed(
                f"run {self.id} {run.state}{where}{reason}", run_id=self.id, status=run.state, error=run.error
            )
        return run.outputs or {}

    def wait(self, timeout_s: float | None = None) -> RunRecord:
        """Wait for the end of the run, however it ends. Raises WaitTimeout."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with guard(self._client.url):
            for run in self._client.store.wait_for_end(self._client.blocking, self.id, block_ms=BLOCK_MS):
                if run is not None:
                    return run
                if until is not None and time.monotonic() >= until:
                    break
        raise WaitTimeout(f"run {self.id} is not over after {timeout_s:g} s", run_id=self.id)

    def cancel(self, *, at_once: bool = False) -> bool:
        """Stop the run: nothing more of it starts, what is done is undone (`compensate`), and `finally` runs.

        Args:
            at_once: leave out compensations and `finally`.
        Returns:
            False: it was over already, or is being stopped. Raises RunNotFound.
        """
        with self._client.asking():
            advance = self._client.store.cancel_run(self.id, at_once=at_once)
            self._client.carry_on(advance)
        return advance is not None

    def plan_rerun(
        self,
        *,
        from_step: str | None = None,
        patch: Mapping[str, Json] | None = None,
        definition: str | Path | Plan | None = None,
    ) -> Rerun:
        """What another run of this run would reuse and run; nothing is started. See `agents.rerun.plan_rerun`.

        Raises:
            RunNotFound. RunNotOver. UnknownStep. WorkflowInvalid.
        """
        plan = definition if definition is None or isinstance(definition, Plan) else self._client.compile(definition)
        with self._client.asking():
            return plan_rerun(
                self._client.store, self.id, self._client.settings,
                from_step=from_step, patch=patch, definition=plan,
            )  # fmt: skip

    def rerun(self, **choice: Any) -> RunHandle:
        """Run this run again, which must be over; finished steps are reused. Takes what `plan_rerun` takes."""
        return self._client.rerun(self.plan_rerun(**choice))

    def pause(self) -> bool:
        """Let nothing more start, here and in child runs; what runs may end. False: it was paused already.

        Raises:
            RunNotFound. RunOver.
        """
        return self._hold(self.id, pause=True)

    def resume(self) -> bool:
        """Let a paused run go on. False: it was not paused. Raises RunNotFound, RunOver."""
        return self._hold(self.id, pause=False)

    def _hold(self, run_id: str, *, pause: bool) -> bool:
        with self._client.asking():
            advance, children = self._client.store.pause_run(run_id, pause=pause)
            self._client.carry_on(advance)
        for child in children:
            with suppress(RunOver, RunNotFound):
                self._hold(child, pause=pause)
        return advance is not None

    def signal(self, name: str, data: Json = None) -> list[str]:
        """Give a signal to the run. Returns the steps that waited for it; none: it is kept for the first that does.

        Raises:
            RunNotFound. RunOver. WorkflowInvalid: no name of a signal. HandlerOutputInvalid: the data is no JSON.
            ApprovalNotAllowed: as for `approve`.
        """
        from orchestrator.workflow.spec import SIGNAL_NAME

        if not SIGNAL_NAME.fullmatch(name):
            message = f"{name!r} is no name of a signal: use letters, digits, '_', '-', '.' and ':', 100 at most"
            raise WorkflowInvalid([Problem("", 0, "", message)])
        self._see_that_it_may()
        with self._client.asking():
            advance, reached = self._client.store.signal_run(self.id, name, self._encode(data))
            self._client.carry_on(advance)
        return reached

    def approve(self, step: str, data: Json = None, *, since: int | None = None) -> None:
        """Let a step go on that waits for a signal; its output is the data, `{"approved": true}` unless said.

        Args:
            since: the step's `started_at` when it was looked at: a later round of a loop is not answered then.
        Raises:
            RunNotFound. RunOver. StepNotWaiting. ApprovalNotAllowed: the key of this process is that of an agent which
            has a step in this run.
        """
        self._see_that_it_may()
        with self._client.asking():
            text = self._encode({"approved": True} if data is None else data)
            self._client.carry_on(self._client.store.answer_step(self.id, step, text, since=since))

    def reject(self, step: str, reason: str | None = None, *, since: int | None = None) -> None:
        """Fail a step that waits for a signal. `since`, and what is raised: as for `approve`."""
        self._see_that_it_may()
        error = StepError("Rejected", reason or "rejected", step)
        with self._client.asking():
            self._client.carry_on(self._client.store.answer_step(self.id, step, "null", error, since=since))

    def _see_that_it_may(self) -> None:
        """Who works in a run opens none of its gates."""
        agent = self._client.key_of
        if agent is not None and any(agent in (step.agent, *step.hands) for step in self.steps()):
            raise ApprovalNotAllowed(
                f"{agent!r} has a step in run {self.id}, and the key of this process is that of {agent!r}:"
                " who works in a run gives it no approval and no signal",
                agent=agent,
            )

    def _encode(self, data: Json) -> str:
        return encode(data, max_bytes=self._client.settings.max_output_bytes, what="the data of the signal")
