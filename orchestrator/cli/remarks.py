"""What is worth saying about a run, or a step, beside its state: why it waits, what it belongs to, how far it is.

Pure: records, or entries of a run that is followed, go in, sentences come out.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.cli.entries import Entry
from orchestrator.cli.text import moment, one_line
from orchestrator.documents import reason_of
from orchestrator.durations import duration
from orchestrator.records import RunRecord, StepRecord
from orchestrator.states import StepState
from orchestrator.workflow.nearby import listed

PHASES = {"compensate": "undoing", "on_failure": "on_failure", "finally": "finally"}


def phase_of(run: RunRecord) -> str:
    """`cancelled, undoing` or `failed, finally`, while that is how the run goes on; nothing for one in its steps."""
    phase = PHASES.get(run.phase or "")
    return f"{run.verdict}, {phase}" if phase and run.verdict and not run.state.terminal else ""


def about_run(run: RunRecord, holders: Sequence[str] = ()) -> list[str]:
    """Sentences about where the run comes from and what it waits for.

    Args:
        holders: the runs that have the places it waits for.
    """
    step = f", step {run.parent_step}" if run.parent_step else ""
    found = [
        f"child of run {run.parent}{step}" if run.parent else "",
        f"repeats run {run.rerun_of}" if run.rerun_of else "",
        f"waits for a place under {run.waits_for}" if run.waits_for else "",
    ]
    if run.waits_for and holders:
        found[-1] += f", taken by {listed(holders)}"
    if run.signals:
        when = "nobody waited for" if run.state.terminal else "nobody waits for yet"
        found.append(f"signals {when}: {listed(run.signals)}")
    return [sentence for sentence in found if sentence]


def summary(record: RunRecord) -> list[str]:
    """The last lines about a run: how it ended, and why."""
    took = duration((record.finished_at or 0) - record.created_at) if record.finished_at else ""
    lines = [f"{record.workflow} {record.state.value}" + (f" in {took}" if took else "") + f" (run {record.id})"]
    if record.error:
        where = f"step {record.error.step}: " if record.error.step else ""
        lines.append(one_line(f"{where}{record.error.type}: {record.error.message}", limit=2000))
    return lines


def about_step(step: StepRecord) -> str:
    """Why a step failed, was skipped or waits, and how far it is: items, rounds, its child run."""
    parts = []
    if step.reused:
        parts.append("taken over")
    if step.items is not None:
        parts.append(f"{step.items_done or 0}/{step.items}")
    if step.rounds is not None:
        parts.append(f"round {step.rounds}")
    if step.state is StepState.RUNNING and step.progress is not None:
        parts.append(f"{step.progress:.0%}")
    if step.child:
        parts.append(f"run {step.child}")
    if len(step.hands) > 1:
        parts.append(f"went from {' to '.join(step.hands)}")
    if step.error and step.state is not StepState.SUCCEEDED:
        parts.append(f"{step.error.type}: {step.error.message}")
    else:
        parts.append(reason_of(step) or step.note or "")
    parts.append(_due(step))
    return ", ".join(part for part in parts if part)


def _due(step: StepRecord) -> str:
    """When it goes on by itself. A limit has no such time: its place is given as soon as one is free."""
    if step.state is not StepState.WAITING or step.retry_at is None or (step.reason and not step.signal):
        return ""
    return f"{'again at' if step.error else 'until'} {moment(step.retry_at)}"


@dataclass(frozen=True, slots=True)
class Remark:
    """What stands beside a step that is followed: how far it is as a share, in words, and what to type about it."""

    text: str = ""
    share: float | None = None
    command: str = ""


NOTHING = Remark()


def about_entry(entry: Entry, run_id: str, now: int, *, ready: bool, unserved: bool) -> Remark:
    """What a step does, or waits for, at this moment.

    Args:
        now: by the server's clock.
        ready: only a worker is missing; unserved: and there is none for its agent.
    """
    if entry.state is StepState.WAITING:
        return _about_wait(entry, run_id, now)
    if ready:
        text = f"waits for a worker of agent {entry.step.agent}" if unserved else f"queued for {entry.step.agent}"
        return Remark(", ".join(part for part in (entry.note, text) if part))
    parts = [_try(entry)] if entry.state is StepState.RUNNING and entry.attempt > 1 else []
    share = entry.fraction if entry.state is StepState.RUNNING else None
    if entry.items is not None:
        items = entry.items
        parts.append(f"{items.done} of {items.count} items" + (f", {items.failed} failed" if items.failed else ""))
        share = items.done / items.count if items.count and not entry.state.terminal else None
    if entry.rounds is not None:
        most = entry.step.loop.max_iterations if entry.step.loop else entry.rounds
        parts.append(f"round {entry.rounds} of {'at most ' if not entry.state.terminal else ''}{most}")
    if entry.times > 1:
        parts.append(f"{entry.times} done")
    if share is not None and entry.items is None:
        parts.append(f"{share:.0%}")
    if entry.state in (StepState.SUCCEEDED, StepState.FAILED) and entry.attempt > 1:
        parts.append(f"after {entry.attempt} attempts")
    if entry.state in (StepState.SKIPPED, StepState.CANCELLED):
        parts.append(entry.state.value)
    return Remark(", ".join(part for part in (*parts, entry.note) if part), share)


def _about_wait(entry: Entry, run_id: str, now: int) -> Remark:
    due = "" if entry.due_at is None else duration(max(0, entry.due_at - now))
    if entry.retried:
        over = entry.due_at is not None and entry.due_at <= now
        again = f"queued for {entry.step.agent}" if over else f"again in {due}" if due else "again soon"
        return Remark(f"{_try(entry, entry.attempt + 1)}, {again}: {entry.note}")
    if entry.step.kind != "wait":
        return Remark(entry.note)
    if entry.awaits_signal:
        until = f", {due} more" if due else ""
        return Remark(f"{entry.note}{until}", command=f"orchestrator approve {run_id} {shlex.quote(entry.id)}")
    return Remark(f"waits until {moment(entry.due_at)}, {due} more" if entry.due_at is not None else "waits")


def _try(entry: Entry, number: int | None = None) -> str:
    """`attempt 2 of 4`; a handler may ask for more attempts than the file has."""
    number = number or entry.attempt
    most = entry.step.retry.max_attempts
    return f"attempt {number} of {most}" if number <= most else f"attempt {number}"
