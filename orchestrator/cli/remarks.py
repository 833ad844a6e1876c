"""What is worth saying about a run, or a step, beside its state: why it waits, what it belongs to, how far it is.

Pure: records go in, sentences come out.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.cli.text import moment
from orchestrator.documents import reason_of
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
