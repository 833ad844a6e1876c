"""Why a step waits, was skipped, has not started or failed, as a sentence. Pure: records go in, sentences come out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from orchestrator.ids import base_of
from orchestrator.records import RunRecord, StepRecord
from orchestrator.states import RunState, StepState
from orchestrator.workflow.plan import Plan, PlanStep
from orchestrator.workflow.template import shorten

_NAMES = 3  # steps that a sentence names; the others it counts
_LONGEST = 300  # characters of an error's message; the whole of it stands beside the step
_PHASES = {"on_failure": "Runs only if the run fails.", "finally": "Runs at the end, however the run ends."}
_INDEX = re.compile(r"\[[0-9]+\]")


class Why:
    """The sentences about the steps of one run, at one moment.

    Args:
        known: the records of the run's steps, as `RunReader.read_steps` gives them.
        online: the agents that some worker serves.
        holders: the runs that have the places under the concurrency key the run waits for.
    """

    def __init__(
        self,
        run: RunRecord,
        plan: Plan,
        known: Mapping[str, StepRecord],
        online: Collection[str],
        holders: Sequence[str] = (),
    ) -> None:
        self._run = run
        self._steps = plan.by_id
        self._known = known
        self._online = online
        self._holders = holders

    def about(self, record: StepRecord) -> str:
        """The sentence of one step, as `in_order` of the store gives it; empty where its state says all."""
        step = self._steps[base_of(record.id)]
        if record.id not in self._known and step.depth > record.id.count("["):
            return f"Runs once for each item of {step.each}."
        if record.id not in self._known and step.phase in _PHASES:
            return _PHASES[step.phase]
        if record.state is StepState.PENDING:
            return self._pending(record, step)
        if record.state is StepState.WAITING:
            return self._waiting(record, step)
        if record.state is StepState.SKIPPED:
            return _skipped(record, step)
        if record.state is StepState.CANCELLED:
            return self._cancelled(record)
        if record.state is StepState.FAILED:
            return _failed(record, step)
        return _under_way(record, step) if record.state is StepState.RUNNING else _succeeded(record, self._run)

    # --- not started -------------------------------------------------------------------------------------------

    def _pending(self, record: StepRecord, step: PlanStep) -> str:
        run = self._run
        if run.waits_for:
            taken = f", which {_listed(self._holders)} {'has' if len(self._holders) == 1 else 'have'}"
            return f"The run waits for a place under {run.waits_for}{taken if self._holders else ''}."
        if run.verdict and step.phase == "main":
            return f"It will not start: the run has {run.verdict} and is being ended."
        before = list(dict.fromkeys(self._before(record.id, step)))
        if before:
            return f"Waits for {_listed(before)}."
        if run.state is RunState.PAUSED:
            return "The run is paused: nothing starts until it is resumed."
        if record.ready_at is None or not record.agent:
            return "It is next: whether and how it runs is being decided."
        since = f"Ready since {moment(record.ready_at)}"
        if record.error:
            since = f"Attempt {record.attempts} failed ({_error(record)}); ready again since {moment(record.ready_at)}"
        if record.agent not in self._online:
            return f"{since}, but no worker of the agent {record.agent} is online."
        return f"{since}: waits for a free worker of the agent {record.agent}."

    def _before(self, step_id: str, step: PlanStep) -> Iterator[str]:
        """The steps people see that have to be over first. Nodes of the compiler's own stand for what they need."""
        at = step_id[len(step.id) :]
        for need in step.needs:
            other = self._steps[need]
            name = need + "".join(_INDEX.findall(at)[: other.depth])
            record = self._known.get(name)
            if record is not None and record.state.terminal:
                continue
            if not other.internal or record is not None:
                yield name.split(".")[0]
            else:
                yield from self._before(name, other)
        if not step.needs and step.scope is not None:
            around = step.scope + "".join(_INDEX.findall(at)[: self._steps[step.scope].depth])
            if (record := self._known.get(around)) is None or record.state is StepState.PENDING:
                yield around

    # --- started and not over ------------------------------------------------------------------------------------

    def _waiting(self, record: StepRecord, step: PlanStep) -> str:
        until = moment(record.retry_at) if record.retry_at is not None else ""
        if record.signal:
            late = "fails" if step.wait is None or step.wait.on_timeout == "fail" else "goes on without"
            return f"Waits for the signal {record.signal}{f'; at {until} it {late}' if until else ''}."
        if record.error:
            return f"Attempt {record.attempts} failed ({_error(record)}); tried again at {until or 'once it can be'}."
        if record.child:
            return f"Waits for the end of run {record.child}."
        if record.reason:
            return f"{_capital(record.reason)}."
        if record.rounds is not None:
            return f"Round {record.rounds + 1} begins at {until}."
        return f"Waits until {until}." if until else "Waits."

    # --- over ------------------------------------------------------------------------------------------------------

    def _cancelled(self, record: StepRecord) -> str:
        run = self._run
        how = f"the run {run.verdict or run.state}" if run.verdict or run.state.terminal else "what it stands in ended"
        how = how.replace("run cancelled", "run was cancelled")
        return f"{'Stopped' if record.started_at else 'Never started'}: {how}."


def clock(at_ms: int) -> str:
    """`12:00:01`, UTC, as all times on the page."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S")


def moment(at_ms: int) -> str:
    """`12:00:01 UTC`, with the date unless it is today's."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.strftime("%H:%M:%S UTC" if at.date() == datetime.now(UTC).date() else "%Y-%m-%d %H:%M:%S UTC")


def _skipped(record: StepRecord, step: PlanStep) -> str:
    if step.when is not None and record.reason == "its when is false":
        return f"Skipped: its condition {shorten(step.when, _LONGEST)} is false."
    return f"Skipped: {record.reason}." if record.reason else "Skipped."


def _failed(record: StepRecord, step: PlanStep) -> str:
    after = f" after {record.attempts} attempts" if record.attempts > 1 else ""
    goes_on = "; the run goes on (on_error: continue)" if step.on_error == "continue" else ""
    return f"Failed{after}: {_error(record)}{goes_on}" if record.error else f"Failed{after}{goes_on}."


def _under_way(record: StepRecord, step: PlanStep) -> str:
    if record.items is not None:
        return f"{record.items_done or 0:,} of {record.items:,} items are done."
    if record.rounds is not None and step.loop is not None:
        return f"In round {record.rounds} of {step.loop.max_iterations} at most."
    share = f"{record.progress:.0%}" if record.progress is not None else ""
    told = " ".join(part for part in (share, shorten(record.note or "", _LONGEST)) if part)
    return " ".join(part for part in (_hands(record), f"{told}." if told else "") if part)


def _succeeded(record: StepRecord, run: RunRecord) -> str:
    if record.reused:
        return f"Taken over from run {run.rerun_of}." if run.rerun_of else "Taken over from an earlier run."
    if record.items is not None:
        return f"{record.items:,} item{'s' * (record.items != 1)}."
    if record.rounds is not None:
        return f"{record.rounds} round{'s' * (record.rounds != 1)}."
    if record.attempts > 1:
        return f"At attempt {record.attempts}."
    return _hands(record)


def _hands(record: StepRecord) -> str:
    return f"Went from {' to '.join(record.hands)}." if len(record.hands) > 1 else ""


def _error(record: StepRecord) -> str:
    assert record.error is not None
    return shorten(f"{record.error.type}: {record.error.message}", _LONGEST)


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and 7 more`."""
    shown = list(names[:_NAMES])
    if len(names) > _NAMES:
        shown[-1:] = [f"{len(names) - _NAMES + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
