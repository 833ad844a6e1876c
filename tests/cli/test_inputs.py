"""Inputs from the command line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from orchestrator.cli.inputs import read_inputs
from orchestrator.errors import WorkflowInvalid
from orchestrator.workflow.plan import Plan

PLAN = Plan("p", "1", (), inputs_schema={
    "name": {"type": "string"},
    "depth": {"type": "integer", "default": 3, "maximum": 9},
    "tags": {"type": "array", "default": []},
})  # fmt: skip


def problems(given: list[str], file: str | None = None) -> list[str]:
    with pytest.raises(WorkflowInvalid) as caught:
        read_inputs(PLAN, given, file)
    return [str(problem) for problem in caught.value.problems]


def test_values_are_read_as_their_declared_type() -> None:
    given = ["name=5", "depth=5", 'tags=["a=b"]']
    assert read_inputs(PLAN, given, None) == {"name": "5", "depth": 5, "tags": ["a=b"]}


def test_single_inputs_go_over_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text('{"name": "Ada", "depth": 1}')
    assert read_inputs(PLAN, ["depth=2"], str(file)) == {"name": "Ada", "depth": 2}


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"name": "Ada"}'))
    assert read_inputs(PLAN, [], "-") == {"name": "Ada"}


def test_all_mistakes_come_together() -> None:
    found = problems(["depth=ten", "tgas=[]", "what"])
    assert len(found) == 4
    assert found[0].startswith("inputs: depth: must be an integer")
    assert found[1] == "-i: what: write NAME=VALUE"
    assert "did you mean tags?" in found[2]
    assert found[3].startswith("inputs: name: is required")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[1]", "must hold one JSON object"),
        (b'{"name":\n oops}', "in.json:2: is no JSON"),
        (b'{"depth": NaN}', "NaN is no JSON value"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_file_that_holds_no_object_is_the_only_mistake(tmp_path: Path, text: bytes, said: str) -> None:
    file = tmp_path / "in.json"
    file.write_bytes(text)
    [found] = problems([], str(file))
    assert said in found
