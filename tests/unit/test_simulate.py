"""`simulate`: the bookkeeping of a run without a server."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator import Agent, RunState, StepState
from orchestrator.errors import UnknownAgent
from orchestrator.testing import SimulatedRun, simulate

writer = Agent("writer", capabilities=["writing"])


@writer.task
def draft(topic: str) -> str:
    return f"on {topic}"


MIXED = """
steps:
  - {id: a, capability: writing, with: {topic: tea}}
  - {id: b, agent: critic, task: score, with: {text: "${{ steps.a.output }}"}}
  - {id: c, agent: clock}
outputs: {a: "${{ steps.a.output }}", b: "${{ steps.b.output }}", c: "${{ steps.c.output }}"}
"""


def run(folder: Path, text: str, **options: object) -> SimulatedRun:
    file = folder / "w.yaml"
    file.write_text("name: test\n" + dedent(text))
    return simulate(file, **options)  # type: ignore[arg-type]


def test_agents_functions_and_plain_values_may_stand_in_beside_one_another(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        MIXED,
        agents={"writer": writer, "critic": {"score": len}, "clock": 12},
    )
    assert done.status is RunState.FAILED, "len takes no parameter of that name"
    assert done.error is not None
    assert done.error.step == "b"
    done = run(
        tmp_path,
        MIXED,
        agents={"writer": writer, "critic.score": lambda text: len(text), "clock": 12},
    )
    assert done.outputs == {"a": "on tea", "b": 6, "c": 12}
    assert done.order == ["a", "b", "c"]


def test_retries_take_virtual_time_only(tmp_path: Path) -> None:
    tries: list[int] = []

    def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("no luck")
        return len(tries)

    done = run(tmp_path, "steps: [{id: a, agent: x, retry: {max_attempts: 3, delay: 1h}}]", agents={"x": flaky})
    assert (done.status, done.steps["a"].attempts, done.duration_s) == (RunState.SUCCEEDED, 3, 3 * 3600)


def test_an_agent_without_a_stand_in_is_an_error_of_the_test(tmp_path: Path) -> None:
    with pytest.raises(UnknownAgent, match="'nobody', which has no stand-in"):
        run(tmp_path, "steps: [{id: a, agent: nobody}]")


def test_steps_that_were_not_reached_are_cancelled(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("no luck")

    done = run(tmp_path, "steps: [{id: a, agent: x}, {id: b, agent: y}]", agents={"x": fail, "y": 1})
    assert {name: step.status for name, step in done.steps.items()} == {
        "a": StepState.FAILED,
        "b": StepState.CANCELLED,
    }
