"""kill -9 of workers and of their child processes: the step runs again, and its result is recorded once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from orchestrator import RunState, StepState
from tests.acceptance.team import Team, attempts, names, output, states, team
from tests.waiting import wait_until

DONE, FAILED = StepState.SUCCEEDED, StepState.FAILED


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One worker of `hand` that stays; the lease is short, so that losses are found soon."""
    with team(tmp_path_factory.mktemp("lost"), lease_s=1.0) as made:
        made.start_worker("hand", concurrency=2)
        yield made


def test_a_step_runs_again_when_its_worker_is_killed(crew: Team) -> None:
    door = crew.new_file()
    killed = crew.start_worker("solo")
    run = crew.submit(
        f"""
        steps:
          - {{id: a, agent: solo, task: hold, with: {{until: "{door}", value: 7}}}}
          - {{id: b, agent: hand, task: echo, with: {{value: "${{{{ steps.a.output + 1 }}}}"}}}}
        outputs: {{b: "${{{{ steps.b.output }}}}"}}
        """
    )
    first = crew.wait_for_start(run, "a")
    crew.kill_worker(killed)
    helper = crew.start_worker("solo")
    second = crew.wait_for_start(run, "a", attempt=2)
    assert first["pid"] != second["pid"]
    assert first["key"] == second["key"]
    door.touch()
    assert run.result(20) == {"b": 8}
    assert attempts(run) == {"a": 2, "b": 1}
    assert names(run, "a") == ["step.started", "step.lost", "step.started", "step.succeeded"]
    assert len(crew.journal(run, "b")) == 1
    crew.kill_worker(helper)


def test_a_step_runs_again_when_only_the_process_of_its_handler_dies(crew: Team) -> None:
    run = crew.submit("steps: [{id: a, agent: hand, task: die, with: {times: 1}}]")
    assert run.wait(12).state is RunState.SUCCEEDED
    assert (output(run, "a"), attempts(run)) == (2, {"a": 2})


def test_a_process_that_is_told_to_end_records_no_failure(crew: Team) -> None:
    """`docker stop` and systemd may signal a whole group; Celery's quick shutdown signals the processes of its pool."""
    door = crew.new_file()
    run = crew.submit(f'steps: [{{id: a, agent: hand, task: hold, with: {{until: "{door}", value: 7}}}}]')
    os.kill(crew.wait_for_start(run, "a")["pid"], signal.SIGTERM)
    crew.wait_for_start(run, "a", attempt=2)
    door.touch()
    assert run.wait(12).state is RunState.SUCCEEDED
    assert names(run, "a") == ["step.started", "step.lost", "step.started", "step.succeeded"]


def test_the_third_loss_fails_the_step_and_the_rest_goes_on(crew: Team) -> None:
    run = crew.submit(
        """
        steps:
          - {id: deadly, agent: hand, task: die, with: {times: 99}, on_error: continue, retry: {max_attempts: 5}}
          - {id: beside, needs: [], agent: hand, task: echo, with: {value: 1}}
          - {id: after, needs: [deadly], agent: hand, task: echo, with: {value: "${{ steps.deadly.error.type }}"}}
        """
    )
    assert run.wait(30).state is RunState.SUCCEEDED
    assert states(run) == {"deadly": FAILED, "beside": DONE, "after": DONE}
    assert output(run, "after") == "WorkerLost"
    assert len(crew.journal(run, "deadly")) == 3
    error = run.document()["steps"]["deadly"]["error"]
    assert error["message"] == "worker process died (signal 9), 3 times in all"


def test_a_step_that_is_longer_than_its_lease_runs_once(crew: Team) -> None:
    door = crew.new_file()
    run = crew.submit(f'steps: [{{id: a, agent: hand, task: hold, with: {{until: "{door}"}}}}]')
    began_s = crew.wait_for_start(run, "a")["at_s"]
    other = crew.submit("steps: [{id: a, agent: hand, task: later, with: {after_s: 2.5}, retry: {max_attempts: 2}}]")
    other.wait(10)
    assert crew.journal(other, "a")[1]["at_s"] - began_s > 2 * crew.settings.lease_s
    door.touch()
    assert run.wait(10).state is RunState.SUCCEEDED
    assert attempts(run) == {"a": 1}


def test_a_lost_worker_does_not_use_up_an_attempt_of_the_retry_policy(crew: Team) -> None:
    run = crew.submit(
        """
        steps:
          - {id: a, agent: hand, task: die, with: {times: 1}, retry: {max_attempts: 1}}
        """
    )
    assert run.wait(12).state is RunState.SUCCEEDED


def test_a_frozen_workers_late_answer_changes_nothing(crew: Team) -> None:
    door = crew.new_file()
    frozen = crew.start_worker("solo")
    run = crew.submit(f'steps: [{{id: a, agent: solo, task: hold, with: {{until: "{door}", value: 1}}}}]')
    handler = crew.wait_for_start(run, "a")["pid"]
    group = os.getpgid(handler)
    os.killpg(group, signal.SIGSTOP)
    try:
        helper = crew.start_worker("solo")
        crew.wait_for_start(run, "a", attempt=2)
        door.touch()
        assert run.wait(10).state is RunState.SUCCEEDED
        before = run.document()
    finally:
        os.killpg(group, signal.SIGCONT)
    wait_until(lambda: len(crew.journal(run, "a", "end")) == 2, what="the late answer", timeout_s=10)
    wait_until(lambda: "LeaseLost: attempt 1 of" in crew.log, what="its refusal", timeout_s=5)
    after = run.document()
    (late,) = after["steps"]["a"].pop("superseded")
    assert (late["attempt"], late["output"], late["error"]) == (1, 1, None)
    assert after == before
    crew.kill_worker(frozen)
    crew.kill_worker(helper)
