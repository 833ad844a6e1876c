"""Entries from events."""

from __future__ import annotations

from orchestrator.cli.entries import Entry
from orchestrator.cli.progress import MOST_FAILED, Progress
from orchestrator.cli.remarks import about_entry
from orchestrator.records import Event, StepRecord
from orchestrator.states import RunState, StepState
from orchestrator.workflow.plan import Plan
from tests.cli.texts import event, plan_of
from tests.factories import foreach, plan, task

PLAN = plan(task("a"), foreach("each", "a"), task("b", "each"))


def after(*events: Event, of: Plan = PLAN) -> Progress:
    progress = Progress(of)
    for happened in events:
        progress.take(happened)
    return progress


def remark(entry: Entry, now: int = 0) -> str:
    return about_entry(entry, "01a", now, ready=False, unserved=False).text


def test_entry_follows_an_attempt_that_fails_and_is_tried_again() -> None:
    started = event("step.started", "a", at=1000, attempt=1)
    told = event("step.progress", "a", at=1100, attempt=1, fraction=0.25, note="reading")
    failed = event("step.retrying", "a", at=2000, attempt=1, type="ValueError", message="no\nluck")
    again = event("step.started", "a", at=3000, attempt=2)
    entry = after(started, told).entries["a"]
    assert (entry.state, entry.fraction, remark(entry)) == (StepState.RUNNING, 0.25, "25%, reading")
    entry = after(started, told, failed).entries["a"]
    assert (entry.state, remark(entry)) == (StepState.WAITING, "attempt 2, again soon: ValueError: no luck")
    entry = after(started, told, failed, again).entries["a"]
    assert (entry.state, entry.fraction, remark(entry)) == (StepState.RUNNING, None, "attempt 2")


def test_a_step_that_waits_is_asked_for_its_time_until_that_is_known() -> None:
    progress = after(
        event("step.retrying", "a", attempt=1, type="E", message="m"),
        event("step.retrying", "each[1]", attempt=1, type="E", message="m"),
    )
    assert progress.unknown(10) == ["a", "each[1]"]
    progress.learn([StepRecord("a", StepState.WAITING, retry_at=5000)])
    assert progress.unknown(10) == ["each[1]"]
    assert remark(progress.entries["a"], now=2000) == "attempt 2, again in 3.0 s: E: m"
    assert remark(progress.entries["a"], now=5000) == "attempt 2, queued for writer: E: m"
    progress.take(event("step.started", "each[1]", attempt=2))
    assert progress.unknown(10) == []


def test_a_record_that_is_newer_than_the_events_is_not_asked_for_again() -> None:
    progress = after(event("step.waiting", "a"))
    progress.learn([StepRecord("a", StepState.SUCCEEDED, retry_at=5000)])
    assert (progress.unknown(10), progress.entries["a"].due_at) == ([], None)


def test_the_only_step_of_an_item_is_asked_for_by_its_id_in_the_store() -> None:
    decided = plan_of("steps: [{id: each, foreach: [1, 2], capability: writing, task: draft}]")
    progress = after(event("step.limited", "each[1]", note="waits for the limit api"), of=decided)
    assert progress.unknown(10) == ["each.item[1]"]


def test_entry_of_a_foreach_counts_its_items() -> None:
    entry = after(
        event("step.started", "each", note="3"),
        event("step.started", "each[0]", attempt=1),
        event("step.succeeded", "each[0]"),
        event("step.failed", "each[1]", type="KeyError", message="'x'"),
        event("step.progress", "each[1]", note="late"),
    ).entries["each"]
    assert (entry.state, remark(entry)) == (StepState.RUNNING, "2 of 3 items, 1 failed")
    assert entry.items
    assert (list(entry.items.live), list(entry.items.bad)) == ([], [1])


def test_items_that_are_done_are_only_counted_and_of_those_that_failed_the_first_are_kept() -> None:
    happened = [event("step.started", "each", note="100")]
    for number in range(100):
        happened += [event("step.started", f"each[{number}]"), event("step.failed", f"each[{number}]", type="E")]
    items = after(*happened).entries["each"].items
    assert items
    assert (len(items.live), len(items.bad), items.failed) == (0, MOST_FAILED, 100)


def test_steps_never_reached_are_cancelled_when_the_run_fails() -> None:
    progress = after(event("step.failed", "a", type="E", message="m"), event("run.failed", at=9))
    states = [entry.state for entry in progress.entries.values()]
    assert states == [StepState.FAILED, StepState.CANCELLED, StepState.CANCELLED]
    assert (progress.state, progress.finished_at) == (RunState.FAILED, 9)


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
    return after(*happened, of=NESTED)


def test_only_steps_that_are_sure_to_come_have_an_entry_before_they_come_up() -> None:
    assert list(nested().entries) == ["each", "spin", "turn", "sign", "kid"]
    late = nested(
        event("step.started", "turn.compensate~6", attempt=1),
        event("step.succeeded", "turn.compensate~6"),
        event("step.started", "turn.compensate", attempt=1),
        event("step.failed", "turn.compensate", type="E", message="m"),
        event("step.started", "alert"),
        event("step.started", "clean"),
        event("step.ready", "not.of.this.plan"),
    )
    assert list(late.entries)[-3:] == ["turn.compensate", "alert", "clean"]
    undo = late.entries["turn.compensate"]
    assert (undo.name, undo.state, remark(undo)) == ("writer.undo", StepState.FAILED, "2 done, E: m")


def test_an_item_with_a_body_is_done_when_all_its_own_steps_are() -> None:
    begun = [event("step.started", "each", note="2"), event("step.started", "write[0]", attempt=1)]
    steps = [
        event("step.succeeded", "write[0]"), event("step.skipped", "edit[0]", note="its when is false"),
        event("step.started", "parts[0]", note="1"), event("step.started", "parts[0][0]"),
        event("step.succeeded", "parts[0][0]"),
    ]  # fmt: skip
    going = nested(*begun, *steps).entries["each"]
    assert remark(going) == "0 of 2 items"
    assert going.items
    assert remark(going.items.live[0].entries["parts"]) == "1 of 1 items"
    done = [*begun, *steps, event("step.succeeded", "parts[0]")]
    assert remark(nested(*done).entries["each"]) == "1 of 2 items"
    failed = [*done, event("step.failed", "write[1]", type="E", message="m"), event("step.cancelled", "edit[1]")]
    assert remark(nested(*failed).entries["each"]) == "2 of 2 items, 1 failed"


def test_an_item_that_is_cancelled_as_a_whole_counts_once() -> None:
    progress = nested(
        event("step.started", "each", note="2"),
        event("step.cancelled", "each[1]"),
        event("step.cancelled", "write[1]"),
        event("step.cancelled", "edit[1]"),
        event("step.cancelled", "parts[1]"),
    )
    assert remark(progress.entries["each"]) == "1 of 2 items"


def test_of_a_foreach_that_has_enough_only_what_was_done_counts() -> None:
    progress = after(
        event("step.started", "each", note="3"), event("step.succeeded", "each[0]"), event("step.cancelled", "each[1]"),
        event("step.succeeded", "each"),
        of=plan_of("steps: [{id: each, foreach: [1, 2, 3], enough: 1, agent: a}]"),
    )  # fmt: skip
    assert remark(progress.entries["each"]) == "2 of 3 items"


def test_a_round_starts_the_entries_of_the_loop_anew() -> None:
    progress = nested(
        event("step.started", "spin"),
        event("step.round", "spin", note="0"),
        event("step.started", "turn", at=5, attempt=1),
        event("step.succeeded", "turn", at=9),
        event("step.round", "spin", note="1"),
    )
    assert remark(progress.entries["spin"]) == "round 2 of at most 3"
    assert (progress.entries["turn"].state, progress.entries["turn"].started_at) == (StepState.PENDING, None)


def test_a_skipped_loop_skips_what_is_in_it() -> None:
    progress = nested(event("step.skipped", "spin", note="its when is false"))
    assert {progress.entries[name].state for name in ("spin", "turn")} == {StepState.SKIPPED}


def test_entries_say_what_a_step_waits_for_and_who_has_it() -> None:
    entries = nested(
        event("step.waiting", "sign", at=5, note="waits for the signal approval"),
        event("step.limited", "kid", note="waits for the limit api"),
    ).entries
    assert entries["sign"].awaits_signal
    assert (entries["sign"].started_at, remark(entries["sign"])) == (5, "waits for the signal approval")
    said = about_entry(entries["sign"], "01a", 0, ready=False, unserved=False)
    assert said.command == "orchestrator approve 01a sign"
    assert (entries["kid"].state, remark(entries["kid"])) == (StepState.WAITING, "waits for the limit api")
    entries = nested(event("step.fell_back", "kid", type="E", message="m")).entries
    assert (entries["kid"].name, remark(entries["kid"])) == ("editor.mend", "E: m")


def test_the_run_as_a_whole_has_a_remark_while_it_is_held() -> None:
    queued = event("run.queued", note="test:main")
    assert nested(queued).remark == "waits for a place under test:main"
    assert nested(queued, event("run.started")).remark == ""
    assert nested(event("run.paused")).remark == "nothing more starts"
    assert nested(event("run.paused"), event("run.resumed")).remark == ""


def test_steps_taken_over_from_another_run_are_done_before_anything_happens() -> None:
    kept = [
        StepRecord("sign", StepState.SUCCEEDED, reused=True),
        StepRecord("each[0]", StepState.SUCCEEDED, reused=True),
        StepRecord("kid", StepState.PENDING),
    ]
    progress = Progress(NESTED, kept)
    assert progress.entries["each"].items
    found = (progress.done, remark(progress.entries["sign"]), progress.entries["each"].items.done)
    assert found == (1, "taken over", 1)


def test_a_step_that_took_several_attempts_says_so_at_its_end() -> None:
    progress = after(event("step.started", "a", attempt=3), event("step.succeeded", "a", attempt=3))
    assert remark(progress.entries["a"]) == "after 3 attempts"
