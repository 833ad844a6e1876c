"""The bars of the timeline, from events and records."""

from __future__ import annotations

from typing import Any

from orchestrator import events
from orchestrator.records import StepRecord
from orchestrator.states import StepState
from orchestrator.web.timeline import bars
from tests.cli.texts import event


def drawn(record: StepRecord, *happened: tuple[str, int]) -> list[list[Any]]:
    return bars([event(name, record.id, at) for name, at in happened], [record], 1000).get(record.id, [])


def test_a_step_is_queued_and_runs() -> None:
    record = StepRecord("a", StepState.SUCCEEDED, ready_at=1100)
    assert drawn(record, (events.STEP_STARTED, 1300), (events.STEP_SUCCEEDED, 1900)) == [
        ["queue", 100, 300, None], ["run", 300, 900, "succeeded"],
    ]  # fmt: skip


def test_each_attempt_has_its_bar_and_the_last_one_its_queue() -> None:
    record = StepRecord("a", StepState.RUNNING, ready_at=1900)
    happened = ((events.STEP_STARTED, 1100), (events.STEP_RETRYING, 1200), (events.STEP_STARTED, 2000))
    assert drawn(record, *happened) == [
        ["run", 100, 200, "failed"], ["retry", 200, 900, None], ["queue", 900, 1000, None], ["run", 1000, None, None],
    ]  # fmt: skip


def test_a_worker_that_was_lost_and_a_step_that_nobody_takes() -> None:
    record = StepRecord("a", StepState.PENDING, ready_at=1500)
    assert drawn(record, (events.STEP_STARTED, 1100), (events.STEP_LOST, 1500)) == [
        ["run", 100, 500, "lost"], ["queue", 500, None, None],
    ]  # fmt: skip
    assert drawn(record) == [["queue", 500, None, None]]


def test_a_wait_is_no_work() -> None:
    record = StepRecord("a", StepState.SUCCEEDED, ready_at=1000)
    assert drawn(record, (events.STEP_WAITING, 1000), (events.STEP_SUCCEEDED, 4000)) == [["wait", 0, 3000, None]]


def test_items_go_by_the_ids_people_see_and_what_is_not_shown_has_no_bars() -> None:
    item = StepRecord("each[0]", StepState.SUCCEEDED)
    happened = [event(events.STEP_STARTED, "each.item[0]", 1100), event(events.STEP_STARTED, "each.item[1]", 1100)]
    assert bars(happened, [item], 1000) == {"each[0]": [["run", 100, None, None]]}


def test_what_was_taken_over_has_no_bars() -> None:
    assert drawn(StepRecord("a", StepState.SUCCEEDED, ready_at=1100, reused=True)) == []
