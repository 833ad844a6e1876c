"""Failing handlers on live workers: retries with real delays, policies, odd exceptions."""

from __future__ import annotations

import pytest

from orchestrator import RunHandle, RunState, StepState
from tests.acceptance.team import Team, attempts, names, output, states

LATE_S = 0.6  # the keeper looks once a second by itself: less than that shows that it was woken


def pauses(crew: Team, run: RunHandle, step: str) -> list[float]:
    """Seconds from the end of each attempt to the start of the next, by the handlers' clock."""
    ends = [note["at_s"] for note in crew.journal(run, step, "end")]
    starts = [note["at_s"] for note in crew.journal(run, step, "start")]
    return [start - end for end, start in zip(ends, starts[1:], strict=False)]


def test_a_retry_comes_after_its_delay_and_not_much_later(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - id: a
            agent: hand
            task: flaky
            with: {times: 3}
            retry: {max_attempts: 4, delay: 50ms, backoff: exponential}
          - {id: b, agent: hand, task: echo, with: {value: "${{ steps.a.attempts }}"}}
        """
    )
    assert output(run, "a")["attempt"] == 4
    assert output(run, "b") == 4
    for found, wanted in zip(pauses(crew, run, "a"), [0.05, 0.1, 0.2], strict=True):
        assert wanted <= found < wanted + LATE_S
    assert names(run, "a") == ["step.started", "step.retrying"] * 3 + ["step.started", "step.succeeded"]
    assert run.document()["steps"]["a"]["error"] is None


def test_the_idempotency_key_is_the_same_for_all_attempts_of_a_step_and_of_no_other(crew: Team) -> None:
    run = crew.run(
        """
        defaults: {retry: {max_attempts: 3, delay: 10ms, backoff: fixed}}
        steps:
          - {id: a, agent: hand, task: flaky, with: {times: 2}}
          - {id: b, agent: hand, task: flaky, with: {times: 1}}
        """
    )
    keys = {step: {note["key"] for note in crew.journal(run, step)} for step in ("a", "b")}
    assert attempts(run) == {"a": 3, "b": 2}
    assert {len(found) for found in keys.values()} == {1}
    assert keys["a"] != keys["b"]


def test_attempts_are_used_up_and_the_last_error_stays(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: flaky, with: {times: 9}, retry: {max_attempts: 2, delay: 10ms}}
        """
    )
    error = run.record().error
    assert error is not None
    assert (error.type, error.message, error.step, error.attempt) == (
        "ConnectionError", "attempt 2 finds nobody", "a", 2,
    )  # fmt: skip
    assert error.traceback is not None
    assert "finds nobody" in error.traceback
    assert len(crew.journal(run)) == 2


def test_without_a_policy_there_is_one_attempt(crew: Team) -> None:
    run = crew.run("steps: [{id: a, agent: hand, task: flaky, with: {times: 1}}]")
    assert (run.status(), attempts(run)) == (RunState.FAILED, {"a": 1})


@pytest.mark.parametrize(
    ("task", "policy"),
    [
        ("fatal", "max_attempts: 5, delay: 10ms"),
        ("fail", "max_attempts: 5, delay: 10ms, give_up_on: [ValueError]"),
        ("fail", "max_attempts: 5, delay: 10ms, give_up_on: [Exception]"),
    ],
)
def test_some_errors_are_not_retried(crew: Team, task: str, policy: str) -> None:
    run = crew.run(f"steps: [{{id: a, agent: hand, task: {task}, retry: {{{policy}}}}}]")
    assert (run.status(), attempts(run)) == (RunState.FAILED, {"a": 1})


def test_a_handler_may_ask_for_a_longer_delay(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: later, with: {after_s: 0.3}, retry: {max_attempts: 2, delay: 10ms}}
        """
    )
    [pause] = pauses(crew, run, "a")
    assert 0.3 <= pause < 0.3 + LATE_S
    assert output(run, "a") == 2


def test_on_error_continue_goes_on_after_the_last_attempt(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: fail, on_error: continue, retry: {max_attempts: 2, delay: 10ms}}
          - {id: b, agent: hand, task: echo, with: {value: "${{ steps.a.error.attempt }}"}}
        """
    )
    assert states(run) == {"a": StepState.FAILED, "b": StepState.SUCCEEDED}
    assert (run.status(), output(run, "b")) == (RunState.SUCCEEDED, 2)


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("empty", "ValueError", "ValueError"),
        ("unpicklable", "Unpicklable", "Unpicklable"),
        ("mute", "Mute", "Mute"),
        ("exit", "SystemExit", "3"),
    ],
)
def test_any_exception_becomes_the_steps_error(crew: Team, how: str, kind: str, message: str) -> None:
    run = crew.run(f"steps: [{{id: a, agent: hand, task: fail_oddly, with: {{how: {how}}}}}]", timeout_s=10)
    error = run.record().error
    assert error is not None
    assert (error.type, error.message, error.attempt) == (kind, message, 1)


def test_a_traceback_is_in_the_workers_log(crew: Team) -> None:
    run = crew.run('steps: [{id: a, agent: hand, task: fail, with: {message: "seven samurai"}}]')
    assert "ValueError: seven samurai" in crew.log
    assert f"{run.id} a failed" in crew.log
