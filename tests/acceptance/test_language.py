"""The workflow language on live workers: order, decisions, containers, outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import RunFailed, RunState, StepState, WorkflowInvalid
from tests.acceptance.team import Team, names, output, states, team
from tests.waiting import wait_until

DONE, FAILED, SKIPPED, CANCELLED = StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED


def test_values_travel_from_step_to_step_and_to_the_outputs(crew: Team) -> None:
    run = crew.submit(
        """
        inputs:
          who: {type: string}
          share: {type: number, default: 2}
        steps:
          - {id: first, agent: hand, task: echo, with: {value: {list: [1, "${{ inputs.who }}", null], "ü": "${{ inputs.share }}"}}}
          - {id: second, agent: many, task: echo, with: {value: "${{ steps.first.output.list[1] }} has $${{ braces }}"}}
        outputs:
          text: "${{ steps.second.output }}"
          whole: "${{ steps.first.output }}"
          tries: "${{ steps.second.attempts }}"
          workflow: "${{ run.workflow }}"
        """,  # noqa: E501
        {"who": "${{ inputs.share }}"},
    )
    assert run.result(30) == {
        "text": "${{ inputs.share }} has ${{ braces }}",
        "whole": {"list": [1, "${{ inputs.share }}", None], "ü": 2.0},
        "tries": 1,
        "workflow": "test",
    }
    assert names(run) == [
        "run.created", "run.started", "step.started", "step.succeeded", "step.started", "step.succeeded",
        "run.succeeded",
    ]  # fmt: skip


def test_branches_run_at_the_same_time(crew: Team) -> None:
    folder = crew.new_folder()
    run = crew.run(
        f"""
        steps:
          - parallel:
            - {{id: a, agent: many, task: meet, with: {{folder: "{folder}", guests: 3}}}}
            - {{id: b, agent: many, task: meet, with: {{folder: "{folder}", guests: 3}}}}
            - steps:
              - {{id: c, agent: hand, task: echo}}
              - {{id: d, agent: many, task: meet, with: {{folder: "{folder}", guests: 3}}}}
          - {{id: e, agent: solo, task: echo, with: {{value: "${{{{ steps.a.output + steps.d.output }}}}"}}}}
        """
    )
    assert output(run, "e") == 6


def test_a_step_starts_as_soon_as_its_own_needs_are_done(crew: Team) -> None:
    door = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - {{id: slow, agent: solo, task: hold, with: {{until: "{door}"}}}}
          - {{id: quick, needs: [], agent: hand, task: echo}}
          - {{id: after_quick, agent: hand, task: echo}}
          - {{id: last, needs: [slow, after_quick], agent: hand, task: echo}}
        """
    )
    crew.wait_for_state(run, "after_quick", DONE)
    assert states(run)["slow"] is StepState.RUNNING
    assert states(run)["last"] is StepState.PENDING
    door.touch()
    assert run.wait(20).state is RunState.SUCCEEDED


def test_when_and_run_if_decide_what_is_skipped_and_why(crew: Team) -> None:
    run = crew.run(
        """
        inputs: {deep: {type: boolean, default: false}}
        steps:
          - {id: bad, agent: hand, task: fail, on_error: continue}
          - {id: asked, needs: [], agent: hand, task: echo, when: "${{ inputs.deep }}"}
          - {id: after, needs: [asked], agent: hand, task: echo, with: {value: "${{ steps.asked.output }}"}}
          - {id: strict, needs: [bad, after], run_if: all_success, agent: hand, task: echo}
          - {id: any, needs: [bad, after], run_if: any_success, agent: hand, task: echo}
          - {id: all, needs: [strict, any], run_if: all_done, agent: hand, task: echo}
          - {id: told, needs: [bad], agent: hand, task: echo, with: {value: "${{ steps.bad.error.type + ': ' + steps.bad.error.message }}"}}
          - {id: yes, needs: [bad], agent: hand, task: echo, when: "${{ steps.bad.status == 'failed' }}"}
        """  # noqa: E501
    )
    assert run.status() is RunState.SUCCEEDED
    assert states(run) == {
        "bad": FAILED, "asked": SKIPPED, "after": DONE, "strict": SKIPPED, "any": DONE, "all": DONE, "told": DONE,
        "yes": DONE,
    }  # fmt: skip
    steps = run.document()["steps"]
    assert steps["asked"]["reason"] == "its when is false"
    assert steps["strict"]["reason"] == "run_if all_success: 1 failed and 0 skipped of 2 needs"
    assert (steps["after"]["output"], steps["told"]["output"]) == (None, "ValueError: no luck")


def test_a_container_whose_when_is_false_skips_everything_inside(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - id: box
            when: false
            parallel:
              - {id: a, agent: hand, task: echo, run_if: always}
              - steps:
                - {id: b, agent: hand, task: echo}
                - {id: c, agent: hand, task: echo, run_if: all_done}
          - {id: after, agent: hand, task: echo}
          - {id: strict, needs: [box], run_if: all_success, agent: hand, task: echo}
        """
    )
    assert states(run) == {"a": SKIPPED, "b": SKIPPED, "c": SKIPPED, "after": DONE, "strict": SKIPPED}


def test_reading_a_field_of_a_skipped_steps_output_fails_with_a_clear_message(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: echo, when: false}
          - {id: b, agent: hand, task: echo, with: {value: "${{ steps.a.output.title }}"}}
        """
    )
    error = run.record().error
    assert error is not None
    assert (error.type, error.step) == ("ExpressionError", "b")
    assert "null" in error.message
    assert not crew.journal(run)


def test_a_failed_step_stops_what_has_not_started_and_fails_the_run(crew: Team) -> None:
    door = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - {{id: beside, agent: hand, task: hold, with: {{until: "{door}", value: 7}}}}
          - {{id: after_beside, agent: hand, task: echo}}
          - {{id: begun, needs: [], wait: {{signal: begun}}}}
          - {{id: bad, agent: hand, task: fail, with: {{message: "out of paper"}}}}
          - {{id: never, agent: hand, task: echo}}
        outputs: {{x: "${{{{ steps.beside.output }}}}"}}
        """
    )
    crew.wait_for_start(run, "beside")
    run.signal("begun")
    crew.wait_for_state(run, "bad", FAILED)
    assert run.status() is RunState.RUNNING, "what runs may finish"
    door.touch()
    with pytest.raises(RunFailed, match="in step bad: out of paper") as failure:
        run.result(20)
    assert failure.value.status is RunState.FAILED
    assert failure.value.error.type == "ValueError"
    wanted = {"beside": DONE, "after_beside": CANCELLED, "begun": DONE, "bad": FAILED, "never": CANCELLED}
    assert states(run) == wanted
    assert output(run, "beside") == 7
    assert {note["step"] for note in crew.journal(run)} == {"beside", "bad"}


def test_set_computes_where_the_run_advances(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: echo, with: {value: 4}}
          - {id: b, set: {twice: "${{ steps.a.output * 2 }}", text: "a is ${{ steps.a.output }}", list: [1, {x: null}]}}
          - {id: c, agent: hand, task: echo, with: {value: "${{ steps.b.output.twice + 1 }}"}}
        outputs: {b: "${{ steps.b.output }}", c: "${{ steps.c.output }}"}
        """
    )
    assert run.result() == {"b": {"twice": 8, "text": "a is 4", "list": [1, {"x": None}]}, "c": 9}


def test_outputs_that_cannot_be_computed_fail_the_run(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: echo, with: {value: {x: 1}}}
        outputs: {y: "${{ steps.a.output.y }}"}
        """
    )
    error = run.record().error
    assert run.status() is RunState.FAILED
    assert error is not None
    assert error.message.startswith("outputs: ")
    assert states(run) == {"a": DONE}


def test_a_workflow_of_only_set_steps_needs_no_worker(tmp_path: Path) -> None:
    with team(tmp_path) as alone:
        run = alone.submit(
            """
            inputs: {n: {type: integer}}
            steps:
              - {id: a, set: {n: "${{ inputs.n + 1 }}"}}
              - {id: b, when: "${{ steps.a.output.n > 5 }}", set: {never: true}}
              - {id: c, set: {n: "${{ steps.a.output.n * 10 }}"}}
            outputs: {n: "${{ steps.c.output.n }}"}
            """,
            {"n": 1},
        )
        assert run.result(5) == {"n": 20}
        assert states(run) == {"a": DONE, "b": SKIPPED, "c": DONE}


def test_a_capability_names_an_agent(crew: Team) -> None:
    run = crew.run("steps: [{id: a, capability: lifting, task: echo, with: {value: up}}]")
    assert run.document()["steps"]["a"]["agent"] == "hand"
    assert output(run, "a") == "up"


def test_mistakes_are_reported_together_and_nothing_is_stored(crew: Team) -> None:
    before = len(crew.client.runs(limit=10_000))
    with pytest.raises(WorkflowInvalid) as invalid:
        crew.submit(
            """
            steps:
              - {id: a, agent: hnad, task: echo}
              - {id: b, agent: hand, task: ehco}
              - {id: c, agent: hand, task: echo, with: {valeu: 1}}
            """
        )
    assert len(invalid.value.problems) == 3
    assert len(crew.client.runs(limit=10_000)) == before


def test_workers_show_readable_names(crew: Team) -> None:
    run = crew.run("steps: [{id: a, agent: hand, task: greet, with: {name: Ada}}]")
    wait_until(lambda: f"hand.greet[{run.id}:a]" in crew.log, what="the worker's log line", timeout_s=5)
