"""Time-outs of steps and runs, and cancelling, on live workers."""

from __future__ import annotations

import time

import pytest

from orchestrator import RunFailed, RunState, StepState
from tests.acceptance.team import Team, attempts, names, states
from tests.waiting import wait_until

DONE, FAILED, CANCELLED = StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED


def test_a_step_that_takes_too_long_is_interrupted_retried_and_failed(crew: Team) -> None:
    run = crew.run(
        f"""
        steps:
          - id: a
            agent: hand
            task: hold
            with: {{until: "{crew.new_file()}"}}
            timeout: 300ms
            retry: {{max_attempts: 2, delay: 10ms}}
        """,
        timeout_s=10,
    )
    error = run.record().error
    assert error is not None
    assert (error.type, error.step, error.attempt) == ("StepTimeout", "a", 2)
    assert error.message == "the attempt ran longer than 0.3 s"
    assert names(run, "a") == ["step.started", "step.retrying", "step.started", "step.failed"]
    wait_until(lambda: len(crew.journal(run, what="end")) == 2, what="the interruption of both handlers", timeout_s=3)
    for start, end in zip(crew.journal(run), crew.journal(run, what="end"), strict=True):
        assert 0.25 < end["at_s"] - start["at_s"] < 1.5


def test_a_handler_in_a_thread_is_not_interrupted_and_its_answer_does_not_count(crew: Team) -> None:
    door = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - {{id: a, agent: many, task: hold, with: {{until: "{door}", value: 1}}, timeout: 200ms, on_error: continue}}
          - {{id: b, agent: hand, task: echo, with: {{value: "${{{{ steps.a.error.type }}}}"}}}}
        """
    )
    assert run.wait(10).state is RunState.SUCCEEDED
    assert states(run) == {"a": FAILED, "b": DONE}
    door.touch()
    wait_until(lambda: crew.journal(run, "a", "end"), what="the end of the handler", timeout_s=5)
    assert states(run)["a"] is FAILED
    assert run.document()["steps"]["a"]["output"] is None


def test_a_step_within_its_time_is_left_alone(crew: Team) -> None:
    run = crew.run("steps: [{id: a, foreach: [1, 2, 3, 4, 5, 6], agent: hand, task: echo, timeout: 5s}]")
    assert run.status() is RunState.SUCCEEDED


def test_a_run_that_takes_too_long_fails(crew: Team) -> None:
    door = crew.new_file()
    began = time.monotonic()
    run = crew.submit(
        f"""
        timeout: 400ms
        steps:
          - {{id: a, agent: hand, task: hold, with: {{until: "{door}"}}}}
          - {{id: b, agent: hand, task: echo}}
        """
    )
    with pytest.raises(RunFailed) as failure:
        run.result(10)
    assert 0.4 <= time.monotonic() - began < 2
    assert (failure.value.status, failure.value.error.type) == (RunState.FAILED, "RunTimeout")
    assert states(run) == {"a": CANCELLED, "b": CANCELLED}
    wait_until(lambda: crew.journal(run, what="end"), what="the interruption of the handler", timeout_s=5)


def test_cancel_is_at_once_and_interrupts_what_runs(crew: Team) -> None:
    run = crew.submit(
        f"""
        steps:
          - {{id: a, agent: hand, task: hold, with: {{until: "{crew.new_file()}"}}}}
          - {{id: b, agent: hand, task: echo}}
          - {{id: queued, needs: [], foreach: [1, 2], max_parallel: 1, agent: hand, task: hold, with: {{until: "x"}}}}
        """
    )
    crew.wait_for_start(run, "a")
    crew.wait_for_start(run, "queued[0]")
    assert run.cancel() is True
    assert run.status() is RunState.CANCELLED
    assert run.cancel() is False
    with pytest.raises(RunFailed, match="cancelled"):
        run.result(1)
    interrupted_s = crew.settings.lease_s / 3 + 1
    wait_until(lambda: len(crew.journal(run, what="end")) == 2, what="the interruptions", timeout_s=interrupted_s)
    assert set(states(run).values()) == {CANCELLED}
    assert {note["step"] for note in crew.journal(run)} == {"a", "queued[0]"}
    assert names(run)[-1] == "run.cancelled"
    follow_up = crew.run("steps: [{id: a, foreach: [1, 2, 3, 4, 5, 6, 7, 8], agent: hand, task: echo}]")
    assert follow_up.status() is RunState.SUCCEEDED, "the worker is free again"
    assert attempts(follow_up)["a[7]"] == 1


def test_a_handler_in_a_thread_can_see_that_it_is_cancelled(crew: Team) -> None:
    run = crew.submit("steps: [{id: a, agent: many, task: watch}]")
    crew.wait_for_start(run, "a")
    run.cancel()
    wait_until(lambda: crew.journal(run, what="end"), what="the handler to stop", timeout_s=3)


def test_a_run_that_waits_for_a_retry_can_be_cancelled(crew: Team) -> None:
    run = crew.submit("steps: [{id: a, agent: hand, task: fail, retry: {max_attempts: 2, delay: 1h}}]")
    crew.wait_for_state(run, "a", StepState.WAITING)
    run.cancel()
    assert states(run) == {"a": CANCELLED}
