from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.loader import load_workflow
from tests.unit.workflow.texts import messages_of, plan_of, problems_of, quick


def refusal(path: Path, limits: Settings | None = None) -> str:
    with pytest.raises(WorkflowInvalid) as caught:
        load_workflow(path, limits=limits)
    return str(caught.value).removeprefix(str(path))


def test_a_file_is_read_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "ä b.yaml"
    path.write_bytes("\ufeffname: x\nsteps:\n- {id: a, set: {t: é}}\n".encode())
    loaded = load_workflow(path)
    assert loaded.spec.steps[0].set == {"t": "é"}
    assert loaded.problem(("steps", 0), "hm").line == 3


def test_what_is_no_file_of_text_says_so(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml") == ": no such file"
    assert refusal(tmp_path) == ": is a folder"
    (tmp_path / "utf16").write_bytes("name: x".encode("utf-16"))
    assert refusal(tmp_path / "utf16") == ":1: is not UTF-8 text"
    (tmp_path / "latin").write_bytes(b"name: x\nsteps: \xe9")
    assert refusal(tmp_path / "latin") == ":2: is not UTF-8 text"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in refusal(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == ": is no regular file"


def test_a_definition_has_a_limit_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "big").write_text("name: x # " + "é" * 60)
    assert refusal(tmp_path / "big", Settings(max_definition_bytes=100)) == ": is larger than 100 bytes"
    assert "larger than" in problems_of("name: x # " + "é" * 60, limits=Settings(max_definition_bytes=100))[0].message


@pytest.mark.parametrize("text", ["", "  \n", "# only a comment\n", "null", "hello", "- a", "42", "--- \n...\n"])
def test_what_is_no_mapping_says_so(text: str) -> None:
    (found,) = _raw_problems(text)
    assert found.line == 1
    assert "empty" in found.message or "mapping" in found.message


def test_all_mistakes_are_reported_together_in_the_order_of_lines() -> None:
    text = """name: X y
nmae: x
inputs:
  a: {type: strin}
  b: {typ: string}
  b c: {}
priority: hi
timeout: 5
steps:
  - {id: 1a, agent: writer, task: edit}
  - {id: b, agnet: writer}
  - {id: c, agent: 3, task: edit}
  - {id: d, agent: writer, task: edit, retry: {max_attempt: 2, delay: 1}}
  - {id: e, agent: writer, task: edit, needs: d, on_error: ignore, timeout: 0s}
  - {id: f, set: {x: "${{ inputs.zz }}"}}
"""
    found = messages_of(text)
    assert [int(message.split()[0]) for message in found] == sorted(int(message.split()[0]) for message in found)
    assert set(found) == {
        "1 name: 'X y' is no name here: use a-z, 0-9, '_' and '-', a letter first, 63 at most",
        "2 nmae: unknown key 'nmae' (did you mean name?)",
        "4 inputs.a.type: 'strin' is not one of string, integer, number, boolean, array, object, any "
        "(did you mean string?)",
        "5 inputs.b.typ: unknown key 'typ' (did you mean type?)",
        "6 inputs.b c: 'b c' is no name here: use letters, digits and '_', not first a digit, 64 at most",
        "7 priority: 'hi' is not one of low, medium, high, urgent, emergency (did you mean high?)",
        "8 timeout: 5 is no duration; write 5s",
        "10 steps.0.id: '1a' is no name here: use a-z, 0-9, '_' and '-', a letter first, 63 at most",
        "11 steps.1.agnet: unknown key 'agnet' (did you mean agent?)",
        "12 steps.2.agent: must be text, and is 3; put it in quotes",
        "13 steps.3.retry.max_attempt: unknown key 'max_attempt' (did you mean max_attempts?)",
        "13 steps.3.retry.delay: 1 is no duration; write 1s",
        "14 steps.4.needs: must be a list, and is 'd'",
        "14 steps.4.on_error: 'ignore' is not one of fail, continue",
        "14 steps.4.timeout: must be longer than 0, and is '0s'",
        "15 steps.5.set.x: no input 'zz'; there is a, b",
    }


@pytest.mark.parametrize(
    ("duration", "ms"), [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000), ("7d", 604_800_000)]
)
def test_a_duration_is_a_number_and_a_unit(duration: str, ms: int) -> None:
    assert plan_of(f"name: x\ntimeout: {duration}\nsteps: [{{id: a, set: {{}}}}]").timeout_ms == ms


@pytest.mark.parametrize(
    "duration", ["5", "'5'", "1.5s", "-1s", "5 s", "5S", "1w", "''", "true", "[1s]", "99999d", "٣s"]
)
def test_anything_else_is_no_duration(duration: str) -> None:
    (found,) = problems_of(f"name: x\ntimeout: {duration}\nsteps: [{{id: a, set: {{}}}}]")
    assert (found.line, found.path) == (2, "timeout")


def test_a_version_may_look_like_a_number() -> None:
    assert plan_of("name: x\nversion: 3\nsteps: [{id: a, set: {}}]").version == "3"


def test_an_input_may_be_called_like_a_type() -> None:
    (found,) = problems_of("name: x\ninputs:\n  str: {type: string}\n  int: {type: nope}\nsteps: [{id: a, set: {}}]")
    assert (found.line, found.path) == (4, "inputs.int.type")


LIMITS = Settings()
WORDS = [
    "name: x",
    "steps:",
    "- ",
    "id: a",
    "agent: b",
    "{",
    "}",
    "[",
    "]",
    "\n",
    "\n  ",
    "'",
    "set: {}",
    "${{ x }}",
    "&a",
    "*a",
]


@quick
@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_nothing_but_workflow_invalid_comes_out_of_any_text(text: str) -> None:
    with suppress(WorkflowInvalid):
        load_workflow("any", text=text, limits=LIMITS)


@quick
@given(st.binary(max_size=80))
def test_nor_out_of_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(data)
    with suppress(WorkflowInvalid):
        load_workflow(path, limits=LIMITS)


def _raw_problems(text: str) -> list[Problem]:
    with pytest.raises(WorkflowInvalid) as caught:
        load_workflow("flow.yaml", text=text)
    problems: list[Problem] = caught.value.problems
    return problems
