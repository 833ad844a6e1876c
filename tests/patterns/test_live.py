"""What a simulation cannot show, on real workers: tasks at the same time, never at the same time, and cancelled."""

from __future__ import annotations

from contextlib import suppress

import pytest

from orchestrator import RunHandle, RunState, StepState
from orchestrator.errors import RunOver, StepNotWaiting
from tests.acceptance.team import states
from tests.patterns.conftest import Office
from tests.patterns.traces import documented, file_of, live_trace
from tests.waiting import wait_until

DONE, SKIPPED = StepState.SUCCEEDED, StepState.SKIPPED
PENDING, WAITING, CANCELLED = StepState.PENDING, StepState.WAITING, StepState.CANCELLED
LONG = {"seconds": 60}


def child(run: RunHandle, step: str) -> RunHandle:
    """The child run of a step, as soon as there is one."""
    found = wait_until(
        lambda: [record.child for record in run.steps() if record.id == step and record.child],
        what=f"the child run of {step}", timeout_s=10,
    )  # fmt: skip
    return run._client.run(str(found[0]))


def halted(office: Office, run: RunHandle) -> None:
    """Wait until no handler of a run works any more."""
    wait_until(
        lambda: len(office.journal(run, what="end")) == len(office.journal(run)),
        what="the handlers to end",
        timeout_s=10,
    )


def overlaps(office: Office, run: RunHandle) -> int:
    """How often a handler of a run started while another one worked."""
    lines = office.journal_file.read_text().splitlines()
    busy = found = 0
    for line in lines:
        if f'"run": "{run.id}"' in line:
            starts = '"what": "start"' in line
            found += starts and busy > 0
            busy += 1 if starts else -1
    return found


def test_wcp02_both_branches_run_at_the_same_time(office: Office) -> None:
    run = office.client.submit(file_of(2), LONG)
    office.wait_for_start(run, "pack")
    office.wait_for_start(run, "bill")
    assert not office.journal(run, what="end")
    assert overlaps(office, run) == 1
    run.cancel()


def test_wcp16_what_comes_second_changes_nothing(office: Office) -> None:
    run = office.client.submit(file_of(16))
    for event in ("call", "letter", "late"):
        office.wait_for_state(run, event, WAITING)
    assert run.signal("letter", {"from": "a customer"}) == ["letter"]
    with suppress(RunOver):  # the worker may be quicker
        assert run.signal("call") == []
    assert run.wait(20).state is RunState.SUCCEEDED
    assert states(run) == {
        "call": CANCELLED, "letter": DONE, "late": CANCELLED, "escalate": SKIPPED, "talk": SKIPPED, "reply": DONE,
    }  # fmt: skip


@pytest.mark.parametrize(("number", "tasks"), [(17, 4), (40, 3)])
def test_wcp17_and_40_no_two_tasks_run_at_the_same_time(office: Office, number: int, tasks: int) -> None:
    run = office.client.submit(file_of(number), {"seconds": 0.1})
    assert run.wait(20).state is RunState.SUCCEEDED
    order = [note["step"] for note in office.journal(run)]
    assert len(order) == len(set(order)) == tasks + 1
    assert overlaps(office, run) == 0
    if number == 17:
        assert order.index("blood") < order.index("pressure")
        assert order[-1] == "report"
    else:
        assert order[-1] == "drive"


def test_wcp19_a_task_is_cancelled_while_it_runs_or_before_and_the_rest_goes_on(office: Office) -> None:
    runs, queued = (office.client.submit(file_of(19), LONG) for _ in range(2))
    office.wait_for_start(runs, "inspection")
    office.wait_for_state(queued, "contract", DONE)
    assert states(queued)["inspection"] is PENDING, "the surveyor does one at a time"
    for run in (queued, runs):
        assert run.signal("withdraw") == ["withdraw"]
        assert run.result(20) == {"purchase": "inspection cancelled"}
        assert live_trace(run) == documented(19)[0]
    halted(office, runs)
    assert office.journal(queued, "inspection") == [], "it never started"


def test_wcp20_cancelling_a_run_ends_all_it_does(office: Office) -> None:
    run = office.client.submit(file_of(20), LONG)
    office.wait_for_start(run, "damage")
    office.wait_for_state(run, "papers", WAITING)
    inspection = child(run, "inspection")
    assert run.cancel()
    assert run.wait(10).state is RunState.CANCELLED
    assert inspection.wait(10).state is RunState.CANCELLED
    assert live_trace(run) == documented(20)[0]
    halted(office, run)
    assert [note["step"] for note in office.journal(run)] == ["damage"]
    assert office.journal(inspection) == [], "it was queued behind it"


def test_wcp23_an_answer_that_comes_too_early_is_lost(office: Office) -> None:
    run = office.client.submit(file_of(23))
    office.wait_for_state(run, "arm", WAITING)
    with pytest.raises(StepNotWaiting):
        run.approve("alarm", {"by": "the first"})
    run.approve("arm")
    office.wait_for_state(run, "alarm", WAITING)
    assert not run.status().terminal
    assert run.record().signals == (), "nothing is kept"
    run.approve("alarm", {"by": "the second"})
    assert run.result(10) == {"by": {"by": "the second"}}
    assert live_trace(run) == documented(23)[0]


def test_wcp24_a_signal_that_comes_early_is_kept(office: Office) -> None:
    run = office.client.submit(file_of(24))
    office.wait_for_state(run, "open", WAITING)
    assert run.signal("claim", "first") == run.signal("claim", "second") == []
    assert run.record().signals == ("claim",)
    assert run.signal("open") == ["open"]
    assert run.result(10) == {"claims": ["first", "second"]}
    assert live_trace(run) == documented(24)[0]


def test_wcp25_all_of_a_region_is_withdrawn_and_what_lies_between_goes_on(office: Office) -> None:
    run = office.client.submit(file_of(25), LONG)
    office.wait_for_start(run, "search")
    office.wait_for_state(run, "statement", WAITING)
    assert run.signal("closed") == ["closed"]
    assert states(run)["compare"] is CANCELLED, "before it could start"
    assert run.signal("statement") == ["statement"]
    assert run.wait(20).state is RunState.SUCCEEDED
    assert live_trace(run) == documented(25)[0]
    halted(office, run)
    assert {note["step"] for note in office.journal(run)} == {"charge", "search", "interview", "trial"}


def test_wcp26_open_instances_are_withdrawn_and_finished_ones_stay(office: Office) -> None:
    run = office.client.submit(file_of(26), LONG)
    for item in (1, 2):
        office.wait_for_start(run, f"measure[{item}]")
    assert run.signal("stop") == ["stop"]
    assert run.wait(20).state is RunState.SUCCEEDED
    assert live_trace(run) == documented(26)[0]
    halted(office, run)
    assert {note["step"] for note in office.journal(run)} == {"measure[0]", "measure[1]", "measure[2]", "permit"}


def test_wcp27_open_instances_are_withdrawn_and_the_next_step_has_what_the_others_found(office: Office) -> None:
    run = office.client.submit(file_of(27), LONG)
    office.wait_for_start(run, "test[1]")
    assert sorted(run.signal("complete")) == ["complete[1]", "complete[2]"]
    assert run.result(20) == {"report": ["protein 0", None, None]}
    assert live_trace(run) == documented(27)[0]
    halted(office, run)
    assert [note["step"] for note in office.journal(run)] == ["test[0]", "test[1]", "report"]


def test_wcp28_what_comes_again_is_kept_until_all_have_come_once(office: Office) -> None:
    run = office.client.submit(file_of(28), {"delegations": 2})
    for event in ("arrival", "security"):
        office.wait_for_state(run, event, WAITING)
    assert run.signal("arrival") == ["arrival"]
    office.wait_for_start(run, "credentials")
    assert run.signal("arrival") == [], "it is blocked"
    office.wait_for_state(run, "credentials", DONE)
    assert (states(run)["security"], run.record().signals) == (WAITING, ("arrival",))
    assert run.signal("security") == ["security"], "it is reset"
    wait_until(lambda: len(office.journal(run, "credentials")) == 2, what="the second delegation", timeout_s=10)
    assert run.record().signals == (), "what came early counts now"
    office.wait_for_state(run, "security", WAITING)
    run.signal("security")
    assert run.wait(20).state is RunState.SUCCEEDED
    assert live_trace(run) == documented(28)[0]
    assert len(office.journal(run, "credentials")) == 2


@pytest.mark.parametrize(("number", "busy", "last"), [(29, "north", "south"), (32, "third", "second")])
def test_wcp29_and_32_when_enough_branches_are_done_the_others_are_cancelled(
    office: Office, number: int, busy: str, last: str
) -> None:
    run = office.client.submit(file_of(number), LONG)
    office.wait_for_start(run, busy)
    office.wait_for_state(run, "post", WAITING)
    if number == 32:
        office.wait_for_state(run, "first", DONE)
    assert run.signal("post") == ["post"]
    assert run.wait(20).state is RunState.SUCCEEDED
    assert live_trace(run) == documented(number)[0]
    halted(office, run)
    assert "east" not in states(run) or office.journal(run, "east") == [], "the surveyor does one at a time"
    assert office.journal(run)[-2]["step"] == last, "and then came the next step, once"


def test_wcp35_when_enough_instances_are_done_the_others_are_cancelled(office: Office) -> None:
    run = office.client.submit(file_of(35), LONG)
    assert run.result(20) == {"release": "sample 0, sample 3"}
    assert live_trace(run) == documented(35)[0]
    halted(office, run)
    assert office.journal(run, "examine[4]") == [], "it never started"


def test_wcp43_an_end_that_is_reached_ends_the_run_as_succeeded(office: Office) -> None:
    run = office.client.submit(file_of(43), LONG)
    office.wait_for_start(run, "dig")
    assert run.signal("letter") == ["letter"]
    assert run.result(20) == {"entry": "an entry"}
    assert live_trace(run) == documented(43)[0]
    halted(office, run)
    assert [note["step"] for note in office.journal(run)] == ["dig", "register"]
