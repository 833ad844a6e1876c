"""Rows from events."""

from __future__ import annotations

from orchestrator.cli.live import choose
from orchestrator.cli.progress import Progress, Row
from orchestrator.records import Event, StepRecord
from orchestrator.states import StepState
from orchestrator.workflow.plan import PlanStep
from tests.cli.texts import event, plan_of
from tests.factories import foreach, plan, task

PLAN = plan(task("a"), foreach("each", "a"), task("b", "each"))


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


NESTED = plan_of(
    """
    steps:
      - id: each
        foreach: [1, 2]
        steps:
          - {id: write, agent: writer}
          - {id: edit, when: "${{ index == 0 }}", agent: editor}
          - {id: parts, foreach: [1], agent: writer}
      - id: spin
        loop: {until: "${{ round.index == 1 }}", max_iterations: 3}
        steps: [{id: turn, agent: writer, compensate: {agent: writer, task: undo}}]
      - {id: sign, wait: {signal: approval}}
      - {id: kid, agent: writer, fallback: {agent: editor, task: mend}}
    on_failure: [{id: alert, agent: writer}]
    finally: [{id: clean, agent: writer}]
    """
)


def nested(*happened: Event) -> Progress:
    progress = Progress(NESTED)
    for one in happened:
        progress.take(one)
    return progress


def test_only_steps_that_are_sure_to_have_a_row_have_one_before_they_come_up() -> None:
    assert list(nested().rows) == ["each", "spin", "turn", "sign", "kid"]
    late = nested(
        event("step.started", "turn.compensate~6", attempt=1),
        event("step.succeeded", "turn.compensate~6"),
        event("step.started", "turn.compensate", attempt=1),
        event("step.failed", "turn.compensate", type="E", message="m"),
        event("step.started", "alert"),
        event("step.started", "clean"),
        event("step.ready", "not.of.this.plan"),
    )
    assert list(late.rows)[-3:] == ["turn.compensate", "alert", "clean"]
    undo = late.rows["turn.compensate"]
    assert (undo.name, undo.state, undo.remark()) == ("writer.undo", StepState.FAILED, "2 done  E: m")


def test_an_item_with_a_body_is_done_when_all_its_own_steps_are() -> None:
    begun = [event("step.started", "each", note="2"), event("step.started", "write[0]", attempt=1)]
    steps = [
        event("step.succeeded", "write[0]"), event("step.skipped", "edit[0]", note="its when is false"),
        event("step.started", "parts[0]", note="1"), event("step.started", "parts[0][0]"),
        event("step.succeeded", "parts[0][0]"),
    ]  # fmt: skip
    assert nested(*begun, *steps).rows["each"].remark() == "0/2"
    done = [*begun, *steps, event("step.succeeded", "parts[0]")]
    assert nested(*done).rows["each"].remark() == "1/2"
    failed = [*done, event("step.failed", "write[1]", type="E", message="m"), event("step.cancelled", "edit[1]")]
    assert nested(*failed).rows["each"].remark() == "2/2, 1 failed  write[1] E: m"


def test_an_item_that_is_cancelled_as_a_whole_counts_once() -> None:
    progress = nested(
        event("step.started", "each", note="2"),
        event("step.cancelled", "each[1]"),
        event("step.cancelled", "write[1]"),
        event("step.cancelled", "edit[1]"),
        event("step.cancelled", "parts[1]"),
    )
    assert progress.rows["each"].remark() == "1/2"


def test_of_a_foreach_that_has_enough_only_what_was_done_counts() -> None:
    progress = Progress(plan_of("steps: [{id: each, foreach: [1, 2, 3], enough: 1, agent: a}]"))
    for happened in (
        event("step.started", "each", note="3"), event("step.succeeded", "each[0]"), event("step.cancelled", "each[1]"),
        event("step.succeeded", "each"),
    ):  # fmt: skip
        progress.take(happened)
    assert progress.rows["each"].remark() == "2/3"


def test_a_round_starts_the_rows_of_the_loop_anew() -> None:
    progress = nested(
        event("step.started", "spin"),
        event("step.round", "spin", note="0"),
        event("step.started", "turn", at=5, attempt=1),
        event("step.succeeded", "turn", at=9),
        event("step.round", "spin", note="1"),
    )
    assert progress.rows["spin"].remark() == "round 2"
    assert (progress.rows["turn"].state, progress.rows["turn"].started_at) == (StepState.PENDING, None)


def test_a_skipped_loop_skips_what_is_in_it() -> None:
    progress = nested(event("step.skipped", "spin", note="its when is false"))
    assert {progress.rows[name].state for name in ("spin", "turn")} == {StepState.SKIPPED}


def test_rows_say_what_a_step_waits_for_and_who_has_it() -> None:
    rows = nested(
        event("step.waiting", "sign", at=5, note="waits for the signal approval"),
        event("step.limited", "kid", note="waits for the limit api"),
    ).rows
    assert (rows["sign"].state, rows["sign"].remark()) == (StepState.WAITING, "waits for the signal approval")
    assert rows["sign"].started_at == 5
    assert (rows["kid"].state, rows["kid"].remark()) == (StepState.WAITING, "waits for the limit api")
    rows = nested(event("step.fell_back", "kid", type="E", message="m")).rows
    assert (rows["kid"].name, rows["kid"].remark()) == ("editor.mend", "E: m")


def test_the_run_as_a_whole_has_a_remark_while_it_is_held() -> None:
    queued = event("run.queued", note="test:main")
    assert nested(queued).remark == "waits for a place under test:main"
    assert nested(queued, event("run.started")).remark == ""
    assert nested(event("run.paused")).remark == "paused"
    assert nested(event("run.paused"), event("run.resumed")).remark == ""


def test_steps_taken_over_from_another_run_are_done_before_anything_happens() -> None:
    kept = [
        StepRecord("sign", StepState.SUCCEEDED, reused=True),
        StepRecord("each[0]", StepState.SUCCEEDED, reused=True),
        StepRecord("kid", StepState.PENDING),
    ]
    progress = Progress(NESTED, kept)
    assert (progress.done, progress.rows["sign"].remark(), progress.rows["each"].items_done) == (1, "taken over", 1)


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
