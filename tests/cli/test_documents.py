"""The run document: its shape, and where what is inside a foreach stands."""

from __future__ import annotations

from typing import Any

from orchestrator.documents import run_document, run_summary
from orchestrator.records import RunRecord, StepRecord
from orchestrator.states import RunState, StepState
from orchestrator.store.rows import in_order
from tests.cli.texts import plan_of

RUN = RunRecord("01a", "test", "", "hash", RunState.RUNNING, "medium", 0)


def records(*ids: str, **items: int) -> dict[str, StepRecord]:
    return {name: StepRecord(name, StepState.SUCCEEDED, items=items.get(name)) for name in ids}


def document(text: str, known: dict[str, StepRecord], outputs: dict[str, Any] | None = None) -> dict[str, Any]:
    steps: dict[str, Any] = run_document(RUN, in_order(plan_of(text), known, RUN.state), outputs or {})["steps"]
    return steps


def test_what_is_inside_an_item_stands_in_its_document_at_any_depth() -> None:
    known = records("nest", "nest[0]", "nest[1]", "write[0]", "inner[0]", "inner[0][0]", "deep[0][0]", nest=2)
    known["inner[0]"] = StepRecord("inner[0]", StepState.SUCCEEDED, items=1)
    shown = document(
        """
        steps:
          - id: nest
            foreach: [1, 2]
            steps:
              - {id: write, agent: a}
              - {id: inner, foreach: [1], steps: [{id: deep, agent: a}]}
          - {id: last, agent: a}
        """,
        known,
        {"write[0]": "text", "deep[0][0]": 7},
    )
    assert list(shown) == ["nest", "last"]
    first, second = shown["nest"]["items"]
    assert list(first["steps"]) == ["write", "inner"]
    assert first["steps"]["write"]["output"] == "text"
    [inner] = first["steps"]["inner"]["items"]
    assert inner["steps"]["deep"]["output"] == 7
    assert {step["status"] for step in second["steps"].values()} == {"pending"}


def test_items_without_inner_steps_have_none_and_child_runs_have_their_output() -> None:
    known = records("each", "each[0]", "kids", "kids[0]", "kids.item[0]", each=1, kids=1)
    shown = document(
        """
        steps:
          - {id: each, foreach: [1], agent: a, compensate: {agent: a, task: undo}}
          - {id: kids, foreach: [1], agent: a}
        """,
        known | records("each.compensate[0]"),
        {"each[0]": 1, "kids.item[0]": 2},
    )
    [item] = shown["each"]["items"]
    assert item["output"] == 1
    assert list(item["steps"]) == ["each.compensate"]
    [kid] = shown["kids"]["items"]
    assert "steps" not in kid
    assert kid["output"] == 2


def test_compensations_of_rounds_stand_beside_their_step() -> None:
    shown = document(
        """
        steps:
          - id: spin
            loop: {until: "${{ true }}", max_iterations: 3}
            steps: [{id: turn, agent: a, compensate: {agent: a, task: undo}}]
        """,
        records("spin", "turn", "turn.compensate", "turn.compensate~6"),
    )
    assert list(shown) == ["spin", "turn", "turn.compensate", "turn.compensate~6"]


def test_fields_that_say_nothing_are_left_out() -> None:
    assert set(run_summary(RUN)) == {
        "run_id", "workflow", "version", "status", "priority", "created_at", "started_at", "finished_at",
    }  # fmt: skip
    step = document("steps: [{id: a, agent: x}]", {})["a"]
    assert set(step) == {"status", "agent", "attempts", "started_at", "finished_at", "output", "error"}


def test_fields_that_say_something_are_there() -> None:
    run = RunRecord(
        "01a", "w", "", "hash", RunState.RUNNING, "medium", 0, parent="01p", parent_step="kids[1]", rerun_of="01r",
        waits_for="w:main", signals=("go",), verdict="cancelled", phase="finally",
    )  # fmt: skip
    assert {name: run_summary(run)[name] for name in list(run_summary(run))[8:]} == {
        "parent_run_id": "01p", "parent_step": "kids[1]", "rerun_of": "01r", "waits_for": "w:main",
        "unused_signals": ["go"], "verdict": "cancelled", "phase": "finally",
    }  # fmt: skip
    record = StepRecord(
        "a", StepState.WAITING, reason="waits for the signal go", signal="go", retry_at=1000, child="01c", rounds=2,
        reused=True,
    )  # fmt: skip
    step = document("steps: [{id: a, agent: x}]", {"a": record})["a"]
    assert {name: step[name] for name in list(step)[7:]} == {
        "reason": "waits for the signal go", "rounds": 2, "child_run_id": "01c", "waits_for_signal": "go",
        "due_at": "1970-01-01T00:00:01.000Z", "reused": True,
    }  # fmt: skip
