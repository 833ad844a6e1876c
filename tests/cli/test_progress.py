"""Rows and sentences from events."""

from __future__ import annotations

from typing import Any

from orchestrator.cli.live import choose
from orchestrator.cli.progress import Progress, Row
from orchestrator.cli.sentences import Sentences
from orchestrator.records import Event
from orchestrator.states import StepState
from orchestrator.workflow.plan import PlanStep
from tests.factories import foreach, plan, task

PLAN = plan(task("a"), foreach("each", "a"), task("b", "each"))


def event(name: str, step: str | None = None, at: int = 0, attempt: int | None = None, **data: Any) -> Event:
    return Event(id=f"{at}-0", at=at, name=name, step=step, attempt=attempt, data=data)


def after(*events: Event) -> dict[str, Row]:
    progress = Progress(PLAN)
    for happened in events:
        progress.take(happened)
    return progress.rows


def test_row_follows_an_attempt_that_fails_and_is_tried_again() -> None:
    rows = after(
        event("step.started", "a", at=1000, attempt=1),
        event("step.retrying", "a", at=2000, attempt=1, type="ValueError", message="no\nluck"),
    )
    assert (rows["a"].state, rows["a"].remark()) == (StepState.WAITING, "ValueError: no luck")
    rows = after(
        event("step.started", "a", at=3000, attempt=2),
        event("step.progress", "a", at=3100, attempt=2, fraction=0.25, note="reading"),
    )
    assert (rows["a"].attempt, rows["a"].remark()) == (2, "25% reading")


def test_row_of_a_foreach_counts_its_items() -> None:
    rows = after(
        event("step.started", "each", note="3"),
        event("step.started", "each[0]", attempt=1),
        event("step.succeeded", "each[0]"),
        event("step.failed", "each[1]", type="KeyError", message="'x'"),
    )
    assert rows["each"].state is StepState.RUNNING
    assert rows["each"].remark() == "2/3, 1 failed  [1] KeyError: 'x'"


def test_steps_never_reached_are_cancelled_when_the_run_fails() -> None:
    rows = after(event("step.failed", "a", type="E", message="m"), event("run.failed"))
    assert [row.state for row in rows.values()] == [StepState.FAILED, StepState.CANCELLED, StepState.CANCELLED]


def test_sentences_name_step_agent_attempt_and_reason() -> None:
    sentences = Sentences(PLAN)

    def tell(*args: Any, **options: Any) -> list[str]:
        return list(sentences.tell(event(*args, **options)))

    assert tell("run.created") == []
    assert tell("step.started", "a", attempt=1) == ["step a started (writer.draft)"]
    assert tell("step.succeeded", "a", at=1500) == ["step a succeeded in 1.5 s"]
    assert tell("step.started", "each", note="3") == ["step each started: 3 items (writer.draft)"]
    assert tell("step.started", "each[2]", attempt=2) == ["step each[2] started (writer.draft, attempt 2)"]
    assert tell("step.skipped", "b", note="when is false") == ["step b skipped: when is false"]
    assert tell("run.failed", type="E", message="\x1b[31m") == ["run failed: E: \\x1b[31m"]


def row(name: str, state: str, finished_at: int | None = None) -> Row:
    return Row(PlanStep(id=name, kind="task"), state=StepState(state), finished_at=finished_at)


def test_what_runs_or_failed_is_shown_first_then_what_ended_last_then_what_comes() -> None:
    rows = [
        row("old", "succeeded", 1), row("bad", "failed", 2), row("new", "succeeded", 3),
        row("now", "running"), row("next", "pending"), row("later", "pending"),
    ]  # fmt: skip

    def names(room: int) -> list[str]:
        return [shown.step.id for shown in choose(rows, room)]

    assert names(2) == ["bad", "now"]
    assert names(3) == ["bad", "new", "now"]
    assert names(5) == ["old", "bad", "new", "now", "next"]
    assert names(6) == [shown.step.id for shown in rows]
