"""What runs when a run does not succeed: compensations, `on_failure`, `finally`; and what becomes of child runs."""

from __future__ import annotations

import time
from pathlib import Path

from orchestrator import RunState, StepState
from tests.acceptance.team import Team, names, states, team
from tests.waiting import wait_until

DONE, FAILED, CANCELLED = StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED


def undone(crew: Team, run: object) -> list[str]:
    """The compensations in the order in which they ran."""
    return [note["step"] for note in crew.journal(run) if ".compensate" in note["step"]]  # type: ignore[arg-type]


def test_a_failed_run_is_undone_newest_first_then_on_failure_then_finally(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: one, agent: hand, task: echo, with: {value: 1},
             compensate: {agent: hand, task: echo, with: {value: "${{ steps.one.output }}"}}}
          - id: each
            foreach: [a, b]
            max_parallel: 1
            agent: many
            task: echo
            with: {value: "${{ item }}"}
            compensate: {agent: hand, task: echo, with: {value: "${{ steps.each.output + item }}"}}
          - id: spin
            loop: {until: "${{ round.index == 1 }}", max_iterations: 3}
            steps:
              - {id: turn, agent: hand, task: echo, with: {value: "${{ round.index }}"},
                 compensate: {agent: hand, task: echo, with: {value: "${{ steps.turn.output }}"}}}
          - {id: never, agent: hand, task: fail, compensate: {agent: hand, task: echo}}
          - {id: after, agent: hand, task: echo}
        on_failure:
          - {id: alert, agent: hand, task: echo, with: {value: "${{ run.error.step + ': ' + run.error.message }}"}}
        finally:
          - {id: clean, agent: hand, task: echo, with: {value: "${{ steps.never.status }}"}}
        """
    )
    assert run.status() is RunState.FAILED
    ran = [note["step"] for note in crew.journal(run)]
    at = ran.index("never") + 1
    assert [step.partition("~")[0] for step in ran[at:]] == [
        "turn.compensate", "turn.compensate", "each.compensate[1]", "each.compensate[0]", "one.compensate",
        "alert", "clean",
    ]  # fmt: skip
    outputs = run._client.store.read_outputs(run.id)
    rounds = [outputs[step] for step in ran[at : at + 2]]
    assert rounds == [1, 0], "each round is undone with what it had made"
    assert (outputs["each.compensate[1]"], outputs["one.compensate"]) == ("bb", 1)
    assert (outputs["alert"], outputs["clean"]) == ("never: no luck", "failed")
    assert states(run)["after"] is CANCELLED
    error = run.record().error
    assert error
    assert error.step == "never", "the first error stays the run's"


def test_a_compensation_goes_on_when_its_worker_is_killed(tmp_path: Path) -> None:
    with team(tmp_path, lease_s=1.0) as crew:
        gate = crew.new_file()
        pid = crew.start_worker("hand")
        run = crew.submit(
            f"""
            steps:
              - {{id: one, agent: hand, task: echo, compensate: {{agent: hand, task: echo}}}}
              - {{id: two, agent: hand, task: echo, compensate: {{agent: hand, task: hold, with: {{until: "{gate}"}}}}}}
              - {{id: bad, agent: hand, task: fail}}
            finally: [{{id: clean, agent: hand, task: echo}}]
            """
        )
        crew.wait_for_start(run, "two.compensate")
        crew.kill_worker(pid)
        gate.touch()
        crew.start_worker("hand")
        assert run.wait(30).state is RunState.FAILED
        ended = [note["step"] for note in crew.journal(run, what="end")]
        assert ended[-3:] == ["two.compensate", "one.compensate", "clean"]


def test_cancel_undoes_and_cleans_up_without_on_failure(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - {{id: one, agent: hand, task: echo, compensate: {{agent: hand, task: echo}}}}
          - {{id: two, agent: hand, task: hold, with: {{until: "{gate}"}}}}
        on_failure: [{{id: alert, agent: hand, task: echo}}]
        finally: [{{id: clean, agent: hand, task: echo}}]
        """
    )
    crew.wait_for_start(run, "two")
    assert run.cancel()
    assert not run.cancel(), "it is being stopped"
    assert run.wait(20).state is RunState.CANCELLED
    gate.touch()
    assert [note["step"] for note in crew.journal(run)] == ["one", "two", "one.compensate", "clean"]


def test_a_failing_finally_fails_a_run_that_had_succeeded_and_a_failing_on_failure_changes_nothing(crew: Team) -> None:
    run = crew.run(
        """
        steps: [{id: a, agent: hand, task: echo}]
        outputs: {a: 1}
        on_failure: [{id: alert, agent: hand, task: echo}]
        finally: [{id: clean, agent: hand, task: fail}]
        """
    )
    assert (run.status(), run.record().error.step) == (RunState.FAILED, "clean")  # type: ignore[union-attr]
    assert "alert" not in states(run)
    run = crew.run(
        """
        steps: [{id: a, agent: hand, task: fail, with: {message: first}}]
        on_failure: [{id: alert, agent: hand, task: fail}, {id: never, agent: hand, task: echo}]
        finally: [{id: clean, agent: hand, task: echo}]
        """
    )
    assert run.record().error.message == "first"  # type: ignore[union-attr]
    assert (states(run)["alert"], states(run)["clean"]) == (FAILED, DONE)


def test_a_child_run_has_an_id_of_its_own_and_ends_with_its_parent(crew: Team) -> None:
    gate = crew.new_file()
    (crew.folder / "child.yaml").write_text(
        f"""
name: child
inputs: {{n: {{type: integer}}}}
steps:
  - {{id: quick, agent: hand, task: echo, with: {{value: "${{{{ inputs.n * 2 }}}}"}}}}
  - {{id: slow, agent: hand, task: hold, when: "${{{{ inputs.n > 1 }}}}", with: {{until: "{gate}"}}}}
  - {{id: sleeps, wait: {{for: 1h}}, when: "${{{{ inputs.n > 1 }}}}"}}
outputs: {{twice: "${{{{ steps.quick.output }}}}"}}
"""
    )
    parent = """
        steps:
          - {id: kid, workflow: child.yaml, with: {n: %d}}
        outputs: {got: "${{ steps.kid.output.twice }}"}
        """
    run = crew.submit(parent % 1)
    assert run.result(20) == {"got": 2}
    child = crew.client.run(run.steps()[0].child or "")
    assert (child.record().parent, child.record().parent_step) == (run.id, "kid")

    run = crew.submit(parent % 2)
    child_id = wait_until(lambda: run.steps()[0].child, what="the child", timeout_s=10)
    child = crew.client.run(child_id)
    crew.wait_for_start(child, "slow")
    started = time.monotonic()
    run.cancel()
    assert child.wait(5).state is RunState.CANCELLED
    assert time.monotonic() - started < 1.0
    gate.touch()


def test_a_failed_child_fails_its_step_which_may_be_retried(crew: Team) -> None:
    (crew.folder / "bad.yaml").write_text("name: bad\nsteps: [{id: x, agent: hand, task: fail}]\n")
    run = crew.run(
        """
        steps:
          - {id: kid, workflow: bad.yaml, retry: {max_attempts: 2, delay: 10ms}, on_error: continue}
          - {id: seen, set: {why: "${{ steps.kid.error.message }}", type: "${{ steps.kid.error.type }}"}}
        """
    )
    assert run.status() is RunState.SUCCEEDED
    seen = run.document()["steps"]["seen"]["output"]
    assert seen["type"] == "ChildRunFailed"
    assert "failed in step x: no luck" in seen["why"]
    assert names(run, "kid").count("step.started") == 2
