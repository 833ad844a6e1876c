"""`foreach` on live workers: items in order, never more at a time than allowed, failing items."""

from __future__ import annotations

import pytest

from orchestrator import RunHandle, RunState, StepState
from tests.acceptance.team import Team, output, states

DONE, FAILED, CANCELLED = StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED


def most_at_a_time(crew: Team, run: RunHandle) -> int:
    """How many handlers ran at the same moment, by their own clock."""
    moments = [(note["at_s"], 1) for note in crew.journal(run)] + [
        (note["at_s"], -1) for note in crew.journal(run, what="end")
    ]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return most


def test_outputs_come_in_the_order_of_the_items(crew: Team) -> None:
    run = crew.run(
        """
        inputs: {words: {type: array, default: [x, "", {deep: [1]}, null, "ü"]}}
        steps:
          - {id: each, foreach: "${{ inputs.words }}", agent: hand, task: echo, with: {value: ["${{ item }}", "${{ index }}"]}}
          - {id: after, agent: hand, task: echo, with: {value: "${{ steps.each.output[2][0].deep }}"}}
        """  # noqa: E501
    )
    assert output(run, "each") == [["x", 0], ["", 1], [{"deep": [1]}, 2], [None, 3], ["ü", 4]]
    assert output(run, "after") == [1]
    items = run.document()["steps"]["each"]["items"]
    assert [(item["status"], item["attempts"]) for item in items] == [("succeeded", 1)] * 5


def test_an_item_of_a_foreach_inside_another_one_is_the_inner_item(crew: Team) -> None:
    run = crew.run(
        """
        inputs: {rows: {type: array, default: [[1, 2], [3]]}}
        steps:
          - id: row
            foreach: "${{ inputs.rows }}"
            steps:
              - id: cell
                foreach: "${{ item }}"
                agent: hand
                task: echo
                with: {value: ["${{ item }}", "${{ index }}"]}
        """
    )
    assert output(run, "row") == [[[1, 0], [2, 1]], [[3, 0]]]


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_items_run_at_a_time_than_allowed(crew: Team, limit: int) -> None:
    folder = crew.new_folder()
    run = crew.run(
        f"""
        steps:
          - id: meeting
            foreach: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
            max_parallel: {limit}
            agent: many
            task: meet
            with: {{folder: "{folder}", guests: "${{{{ index < {limit} ? {limit} : index }}}}"}}
        """
    )
    assert run.status() is RunState.SUCCEEDED
    assert len(crew.journal(run)) == 10
    assert most_at_a_time(crew, run) == limit


def test_without_a_limit_all_items_start_at_once(crew: Team) -> None:
    folder = crew.new_folder()
    run = crew.run(
        f"""
        steps:
          - {{id: m, foreach: [1, 2, 3, 4, 5, 6], agent: many, task: meet, with: {{folder: "{folder}", guests: 6}}}}
        """
    )
    assert output(run, "m") == [6] * 6


def test_a_foreach_over_nothing_is_an_empty_list(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: each, foreach: [], agent: hand, task: echo}
          - {id: after, agent: hand, task: echo, with: {value: "${{ size(steps.each.output) }}"}}
        """
    )
    assert (output(run, "each"), output(run, "after")) == ([], 0)


def failing(on_item_error: str) -> str:
    return f"""
    steps:
      - id: each
        foreach: [a, b, c]
        max_parallel: 1
        on_item_error: {on_item_error}
        agent: hand
        task: mix
        with: {{values: ["${{{{ item }}}}"], broken: "${{{{ item == 'b' }}}}"}}
    """


def test_the_first_failed_item_fails_the_step_and_stops_the_rest(crew: Team) -> None:
    run = crew.run(failing("fail"))
    error = run.record().error
    assert error is not None
    assert (error.type, error.message, error.step) == ("ValueError", "each[1] does not work", "each[1]")
    assert [note["step"] for note in crew.journal(run)] == ["each[0]", "each[1]"]
    assert states(run) == {"each": FAILED, "each[0]": DONE, "each[1]": FAILED}


def test_failed_items_can_be_collected(crew: Team) -> None:
    run = crew.run(failing("collect"))
    first, second, third = output(run, "each")
    assert "n" in first
    assert "n" in third
    assert second == {
        "error": {"type": "ValueError", "message": "each[1] does not work", "step": "each[1]", "attempt": 1}
    }
    assert run.status() is RunState.SUCCEEDED


def test_failed_items_can_be_left_out(crew: Team) -> None:
    run = crew.run(failing("skip"))
    assert len(output(run, "each")) == 2
    assert states(run)["each[1]"] is FAILED
    assert run.status() is RunState.SUCCEEDED


def test_items_retry_one_by_one(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - id: each
            foreach: [0, 1, 2]
            agent: hand
            task: flaky
            with: {times: "${{ item }}"}
            retry: {max_attempts: 3, delay: 10ms}
        """
    )
    assert [item["attempt"] for item in output(run, "each")] == [1, 2, 3]


@pytest.mark.parametrize(("items", "said"), [('"${{ 5 }}"', "an int"), ('"${{ null }}"', "null")])
def test_what_is_no_list_fails_the_step(crew: Team, items: str, said: str) -> None:
    run = crew.run(f"steps: [{{id: each, foreach: {items}, agent: hand, task: echo}}]")
    error = run.record().error
    assert error is not None
    assert f"foreach needs a list, and this is {said}" in error.message


def test_a_thousand_items(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: each, foreach: "${{ lists.range(1000) }}", agent: many, task: echo, with: {value: "${{ item }}"}}
        """,
        timeout_s=60,
    )
    assert output(run, "each") == list(range(1000))
