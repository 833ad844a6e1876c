"""`orchestrator test`: the tests that a workflow file contains."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from orchestrator.cli.app import main
from orchestrator.simulation.cases import MISSING, CaseResult, Difference, run_case, same
from orchestrator.workflow.loader import load_workflow
from tests.cli.texts import plan_of

REPORT = """
inputs: {depth: {type: integer, default: 1}}
steps:
  - {id: outline, agent: planner}
  - id: each
    foreach: "${{ steps.outline.output }}"
    steps:
      - {id: write, agent: writer, with: {part: "${{ item }}"}, retry: {max_attempts: 2}}
      - {id: shorten, when: "${{ inputs.depth > 2 }}", agent: editor}
  - {id: extra, when: "${{ inputs.depth > 2 }}", set: {more: true}}
  - {id: sign, wait: {signal: approval}}
  - {id: publish, agent: publisher, on_error: continue}
outputs: {by: "${{ steps.sign.output.by }}", texts: "${{ steps.outline.output.size() }}"}
tests:
"""
GOOD = """
  - name: short
    mock: {outline: [a, b], write: text, publish: {"$error": down}}
    signals: {approval: {by: Ada}}
    expect: {outputs: {by: Ada, texts: 2.0}, skipped: [extra, shorten, "shorten[1]"], ran: [outline, write, each, publish, sign]}
"""  # noqa: E501


def results(cases: str) -> list[CaseResult]:
    text = REPORT + dedent(cases).replace("\n", "\n  ")
    plan = plan_of(text)
    return [run_case(plan, case) for case in load_workflow("test.yaml", text="name: test\n" + text).spec.tests]


def only(cases: str) -> CaseResult:
    [result] = results(cases)
    return result


def test_a_case_is_ok_when_everything_is_as_expected() -> None:
    result = only(GOOD)
    assert (result.ok, result.problem, result.differences) == (True, None, ())
    assert result.took_ms > 0


def test_each_difference_names_what_was_expected_and_what_came() -> None:
    result = only(
        """
        - name: wrong
          mock: {outline: [a], write: text, publish: {}}
          signals: {approval: {by: Ada}}
          expect: {outputs: {by: Bob, url: x}, skipped: [write, sign], ran: [extra, shorten, "write[4]"]}
        """
    )
    assert result.problem is None
    assert result.differences == (
        Difference("outputs.by", "Bob", "Ada"),
        Difference("outputs.url", "x", MISSING),
        Difference("outputs.texts", MISSING, 1),
        Difference("ran", "extra", "extra skipped: its when is false"),
        Difference("ran", "shorten", "shorten skipped: its when is false"),
        Difference("ran", "write[4]", "write[4] was not reached"),
        Difference("skipped", "write", "write succeeded"),
        Difference("skipped", "sign", "sign succeeded"),
    )


def test_a_run_is_expected_to_succeed_unless_the_case_says_otherwise() -> None:
    first, second = results(
        """
        - {name: first, mock: {outline: {"$error": no idea}}, expect: {outputs: {by: Ada}}}
        - {name: second, mock: {outline: {"$error": no idea}}, expect: {status: failed, ran: [outline]}}
        """
    )
    assert first.differences == (Difference("status", "succeeded", "failed in step outline: MockedError: no idea"),), (
        "outputs of a run that failed are no news"
    )
    assert second.ok


def test_a_run_that_waits_for_a_signal_says_for_which() -> None:
    result = only("- {name: x, mock: {outline: []}, expect: {}}")
    assert result.problem == (
        "the run does not end: sign waits for the signal approval; write approval under `signals`"
    )


def test_a_step_on_an_agent_needs_a_mock() -> None:
    result = only("- {name: x, mock: {outline: [a]}, expect: {status: failed}}")
    assert result.problem is not None
    assert "'write[0]' runs on agent 'writer'" in result.problem
    assert "under `mock`" in result.problem


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [(2, 2.0, True), (True, 1, False), (0, False, False), ([1, {"a": 2}], [1.0, {"a": 2}], True), ({}, [], False),
     ({"a": 1}, {"a": 1, "b": None}, False), (None, None, True), ("1", 1, False)],
)  # fmt: skip
def test_values_are_compared_as_json(one: Any, other: Any, equal: bool) -> None:
    assert same(one, other) is equal
    assert same(other, one) is equal


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    bad = GOOD.replace("name: short", "name: long").replace("by: Ada, texts: 2.0", "by: Bob, texts: 3")
    (tmp_path / "good.yaml").write_text("name: good\n" + REPORT + GOOD)
    (tmp_path / "bad.yaml").write_text("name: bad\n" + REPORT + GOOD + bad)
    (tmp_path / "none.yaml").write_text("name: none\nsteps: [{id: a, agent: x}]\n")
    (tmp_path / "broken.yaml").write_text("name: broken\nstps: []\n")
    (tmp_path / "typo.yaml").write_text("name: typo\n" + REPORT + GOOD.replace("write: text", "wirte: text"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_prints_a_line_for_each_case_and_the_differences_below(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", "bad.yaml", "none.yaml"]) == 1
    said = capsys.readouterr()
    lines = [line.rstrip() for line in said.out.splitlines()]
    assert lines[0] == "bad.yaml"
    assert lines[1].startswith("  ok      short  ")
    assert lines[1].endswith(" ms")
    assert lines[2].startswith("  FAILED  long   ")
    assert lines[3:] == [
        '          outputs.by     expected  "Bob"',
        '                         actual    "Ada"',
        "          outputs.texts  expected  3",
        "                         actual    2",
        "none.yaml: has no tests",
    ]
    assert said.err == "1 ok, 1 failed\n"


def test_the_command_gives_one_document(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "good.yaml", "none.yaml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    [good, none] = document["files"]
    assert (document["passed"], document["failed"], none) == (1, 0, {"file": "none.yaml", "cases": []})
    assert (good["cases"][0].pop("took_ms") > 0) is True
    assert good["cases"] == [{"name": "short", "ok": True, "problem": None, "differences": []}]
    assert main(["test", "bad.yaml", "--json"]) == 1
    [differences] = [case["differences"] for case in json.loads(capsys.readouterr().out)["files"][0]["cases"][1:]]
    assert differences[0] == {"what": "outputs.by", "expected": "Bob", "actual": "Ada"}


def test_mistakes_of_all_files_are_listed_and_nothing_runs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "good.yaml", "broken.yaml", "typo.yaml"]) == 2
    said = capsys.readouterr()
    assert "did you mean steps?" in said.err
    assert "no step 'wirte' (did you mean write?)" in said.err
    assert said.out == ""


def test_agents_are_checked_where_they_are_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "good.yaml", "--agents", "workers"]) == 2
    assert "no agent 'planner'" in capsys.readouterr().err


def test_no_server_is_started(files: Path) -> None:
    main(["test", "good.yaml"])
    assert not (files / ".orchestrator").exists()
