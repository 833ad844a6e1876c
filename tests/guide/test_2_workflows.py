"""The workflow file, one idea at a time. Functions and plain values stand in for the agents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import RunState, StepState, WorkflowInvalid
from orchestrator.testing import simulate

Write = Callable[[str], Path]
DONE, SKIPPED, FAILED, CANCELLED = StepState.SUCCEEDED, StepState.SKIPPED, StepState.FAILED, StepState.CANCELLED


def test_steps_run_in_order_and_read_what_came_before(workflow: Write) -> None:
    file = workflow(
        """
        name: order
        steps:
          - {id: outline, agent: planner, with: {topic: rain}}
          - {id: text, agent: writer, with: {points: "${{ steps.outline.output.points }}"}}
        outputs: {text: "Here it is: ${{ steps.text.output }}"}
        """
    )
    run = simulate(file, agents={"planner": {"points": ["a", "b"]}, "writer": lambda points: " and ".join(points)})
    assert run.outputs == {"text": "Here it is: a and b"}


def test_inputs_have_types_defaults_and_limits(workflow: Write) -> None:
    file = workflow(
        """
        name: inputs
        inputs:
          topic: {type: string}
          depth: {type: integer, default: 3, minimum: 1, maximum: 5}
        steps: [{id: a, set: {text: "${{ inputs.topic }} in ${{ inputs.depth }} parts"}}]
        outputs: {text: "${{ steps.a.output.text }}"}
        """
    )
    assert simulate(file, {"topic": "rain"}).outputs == {"text": "rain in 3 parts"}
    with pytest.raises(WorkflowInvalid) as invalid:
        simulate(file, {"depth": 9})
    assert {problem.path for problem in invalid.value.problems} == {"topic", "depth"}


def test_an_expression_alone_keeps_its_type(workflow: Write) -> None:
    file = workflow(
        """
        name: types
        steps:
          - {id: a, set: {n: "${{ 2 * 3 }}", text: "n is ${{ 2 * 3 }}", literal: "$${{ 2 * 3 }}"}}
        outputs: {all: "${{ steps.a.output }}"}
        """
    )
    assert simulate(file).outputs["all"] == {"n": 6, "text": "n is 6", "literal": "${{ 2 * 3 }}"}


def test_branches_of_a_parallel_meet_at_the_step_after_it(workflow: Write) -> None:
    file = workflow(
        """
        name: branches
        steps:
          - parallel:
              - {id: facts, agent: checker}
              - steps:
                  - {id: write, agent: writer}
                  - {id: edit, agent: editor}
          - {id: publish, agent: press, with: {text: "${{ steps.edit.output }}", ok: "${{ steps.facts.output }}"}}
        """
    )
    run = simulate(
        file,
        agents={"checker": True, "writer": "draft", "editor": "text", "press": lambda text, ok: [text, ok]},
    )
    assert run.steps["publish"].output == ["text", True]
    assert run.order.index("edit") > run.order.index("write")
    assert run.order[-1] == "publish"


def test_needs_make_any_graph(workflow: Write) -> None:
    file = workflow(
        """
        name: graph
        steps:
          - {id: a, agent: x}
          - {id: b, needs: [], agent: x}
          - {id: c, needs: [a, b], agent: x}
          - {id: d, needs: [a], agent: x}
        """
    )
    order = simulate(file, agents={"x": None}).order
    assert order.index("c") > max(order.index("a"), order.index("b"))
    assert order.index("d") > order.index("a")


def test_when_skips_a_step_and_what_comes_after_still_runs(workflow: Write) -> None:
    file = workflow(
        """
        name: when
        inputs: {deep: {type: boolean, default: false}}
        steps:
          - {id: dig, agent: digger, when: "${{ inputs.deep }}"}
          - {id: rest, agent: digger, with: {found: "${{ steps.dig.output }}"}}
        """
    )
    run = simulate(file, agents={"digger": lambda found="gold": found})
    assert (run.steps["dig"].status, run.steps["dig"].reason) == (SKIPPED, "its when is false")
    assert run.steps["rest"].output is None


def test_on_error_continue_and_run_if_handle_failures(workflow: Write) -> None:
    def explode() -> None:
        raise ValueError("boom")

    file = workflow(
        """
        name: failures
        steps:
          - {id: risky, agent: bomb, on_error: continue}
          - {id: report, agent: clerk, with: {text: "${{ steps.risky.error.message }}"}}
          - {id: celebrate, needs: [risky], run_if: all_success, agent: clerk, with: {text: hurray}}
        """
    )
    run = simulate(file, agents={"bomb": explode, "clerk": lambda text: text})
    assert run.status is RunState.SUCCEEDED
    assert run.steps["report"].output == "boom"
    assert run.steps["celebrate"].status is SKIPPED


def test_any_other_failure_fails_the_run_and_nothing_more_starts(workflow: Write) -> None:
    def explode() -> None:
        raise ValueError("boom")

    file = workflow("{name: fails, steps: [{id: a, agent: bomb}, {id: b, agent: bomb}]}")
    run = simulate(file, agents={"bomb": explode})
    assert run.status is RunState.FAILED
    assert run.error is not None
    assert (run.error.type, run.error.step) == ("ValueError", "a")
    assert {name: step.status for name, step in run.steps.items()} == {"a": FAILED, "b": CANCELLED}


def test_foreach_runs_a_task_for_every_item_and_keeps_the_order(workflow: Write) -> None:
    file = workflow(
        """
        name: items
        inputs: {names: {type: array, default: [Ada, Grace]}}
        steps:
          - id: hello
            foreach: "${{ inputs.names }}"
            max_parallel: 4
            agent: greeter
            with: {name: "${{ item }}", n: "${{ index }}"}
        outputs: {all: "${{ steps.hello.output }}"}
        """
    )
    run = simulate(file, agents={"greeter": lambda name, n: f"{n}: {name}"})
    assert run.outputs["all"] == ["0: Ada", "1: Grace"]


@pytest.mark.parametrize(("on_item_error", "output"), [("skip", [1, 3]), ("collect", [1, {"error": "ValueError"}, 3])])
def test_failed_items_can_be_left_out_or_collected(workflow: Write, on_item_error: str, output: list[object]) -> None:
    def odd(n: int) -> int:
        if n % 2 == 0:
            raise ValueError("even")
        return n

    file = workflow(
        f"""
        name: items
        steps:
          - id: each
            foreach: [1, 2, 3]
            on_item_error: {on_item_error}
            agent: sieve
            with: {{n: "${{{{ item }}}}"}}
        """
    )
    found = simulate(file, agents={"sieve": odd}).steps["each"].output
    assert [item if isinstance(item, int) else {"error": item["error"]["type"]} for item in found] == output


def test_mistakes_are_found_before_anything_runs_all_at_once(workflow: Write) -> None:
    file = workflow(
        """
        name: broken
        steps:
          - {id: a, agnet: x}
          - {id: b, agent: x, with: {v: "${{ steps.c.output }}"}}
        """
    )
    with pytest.raises(WorkflowInvalid) as invalid:
        simulate(file, agents={"x": 1})
    first, *rest = [str(problem) for problem in invalid.value.problems]
    assert "did you mean" in first
    assert any("no step 'c'" in text for text in rest)
