"""Small files that would take minutes: mistakes times names, patterns, texts that never close, files that run files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.cli.app import main
from orchestrator.errors import WorkflowInvalid
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from tests.hostile.measuring import compile_apart

LETTERS = "".join(map(chr, range(0x100, 0x180)))
LONG, OTHER = LETTERS * 1500, LETTERS[::-1] * 1500
STEPS = range(1000)


def steps(line: str) -> str:
    return "name: x\nsteps:\n" + "".join(f"- {line}\n".replace("@", f"step_number_{n:05}") for n in STEPS)


BLOCK = "name: x\nsteps:\n- id: a\n  set:\n    k: |\n      ${{\n" + "      \\'''\n" * 15_000 + "      }}\n"
FILES = {
    "names of 200,000 letters": (
        f"name: x\ninputs: {{a: {{type: string, default: {LONG}, enum: [{OTHER}]}}}}\nsteps: [{{id: a, set: {{}}}}]",
        "inputs.a.default:", 1,
    ),
    "wrong needs": (steps("{id: @, set: {}, needs: [stop_nimber_00000]}"), "did you mean step_number_00000?", 1000),
    "wrong reads": (steps('{id: @, set: {a: "${{ steps.stop_nimber_00000.output }}"}}'), "did you mean", 1000),
    "wrong names in tests": (
        steps("{id: @, set: {}}") + "tests:\n- name: t\n  expect:\n    ran:\n"
        + "".join(f"    - stop_nimber_{n:05}\n" for n in range(2000)), "did you mean", 1000,
    ),
    "a text that never closes": (BLOCK, "is never closed", 1),
    "a long list": ('name: x\nsteps: [{id: a, set: {a: "${{ [' + "1," * 130_000 + '1] }}"}}]', "is never closed", 1),
    "patterns": (
        "name: x\ninputs:\n"
        + "".join(f"  a{n}: {{type: string, pattern: '(\\w{{100}}){{5}}N{n}'}}\n" for n in range(300))
        + "steps: [{id: a, set: {}}]", "repeats too much", 300,
    ),
    "deep and wide": ("a: " + "[" * 190 + "1," * 100_000 + "]" * 190, "'name' is missing", 3),
    "a cycle of all": (
        "name: x\nsteps:\n" + "".join(f"- {{id: s{n}, set: {{}}, needs: [s{(n + 1) % 5000}]}}\n" for n in range(5000)),
        "the steps need each other", 1,
    ),
    "the same need": (
        "name: x\nsteps: [{id: a, set: {}}, {id: b, set: {}, needs: [" + "a," * 20_000 + "a]}]", "twice", 1000,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_a_file_of_some_kilobytes_takes_no_minutes(tmp_path: Path, what: str) -> None:
    text, words, count = FILES[what]
    refusal = compile_apart(tmp_path, text)
    assert refusal.problems
    assert len(refusal.problems) == count
    assert any(words in problem for problem in refusal.problems)
    assert all(len(problem) < 5000 for problem in refusal.problems)
    assert refusal.cpu_s < 5
    assert refusal.memory_mib < 100


def test_a_file_that_many_run_is_compiled_once(tmp_path: Path) -> None:
    for level in range(8):
        for at in range(6):
            names = [f"l{level + 1}_{n}.yaml" for n in range(6)] if level < 7 else []
            runs = "".join(f"- {{id: s{n}, workflow: {name}}}\n" for n, name in enumerate(names))
            (tmp_path / f"l{level}_{at}.yaml").write_text(f"name: w\nsteps:\n{runs or '- {id: a, set: {}}'}\n")
    start = time.process_time()
    plan = compile_workflow(load_workflow(tmp_path / "l0_0.yaml"))
    assert time.process_time() - start < 3
    assert len(plan.children) == 7, "files that say the same are one plan"


def test_workflows_run_so_many_files_and_so_deep_and_no_more(tmp_path: Path) -> None:
    for n in range(120):
        (tmp_path / f"c{n}.yaml").write_text(f"name: c{n}\nsteps: [{{id: a, set: {{}}}}]\n")
    runs = "".join(f"- {{id: s{n}, workflow: c{n}.yaml}}\n" for n in range(120))
    (tmp_path / "many.yaml").write_text(f"name: many\nsteps:\n{runs}")
    with pytest.raises(WorkflowInvalid, match="workflows run more than 100 files"):
        compile_workflow(load_workflow(tmp_path / "many.yaml"))
    for n in range(12):
        runs = f"[{{id: a, workflow: d{n + 1}.yaml}}]" if n < 11 else "[{id: a, set: {}}]"
        (tmp_path / f"d{n}.yaml").write_text(f"name: d{n}\nsteps: {runs}\n")
    compile_workflow(load_workflow(tmp_path / "d1.yaml"))
    # d5 is known, with seven levels, when it is met once more further down.
    (tmp_path / "e.yaml").write_text("name: e\nsteps: [{id: a, workflow: d5.yaml}, {id: b, workflow: f.yaml}]\n")
    (tmp_path / "f.yaml").write_text("name: f\nsteps: [{id: a, workflow: g.yaml}]\n")
    (tmp_path / "g.yaml").write_text("name: g\nsteps: [{id: a, workflow: d3.yaml}]\n")
    for file in ("d0", "e"):
        with pytest.raises(WorkflowInvalid, match="workflows run workflows deeper than 10"):
            compile_workflow(load_workflow(tmp_path / f"{file}.yaml"))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("limits: [{key: a, rate: 92233720368547/1m}]", "must be at most 1,000,000 in at most 366d"),
        ("limits: [{key: a, rate: 1/999999d}]", "must be at most 1,000,000 in at most 366d"),
        (f"limits: [{{key: a, rate: {'9' * 5000}/1m}}]", "is no rate; write it as 60/1m or 5/1s"),
        ("output_schema: {allOf: [true], $ref: '#/allOf/" + "9" * 5000 + "'}", "leads nowhere"),
        (f"timeout: {'9' * 5000}d", "is no duration"),
    ],
)
def test_numbers_that_nothing_can_hold_are_refused(tmp_path: Path, step: str, words: str) -> None:
    refusal = compile_apart(tmp_path, f"name: x\nsteps: [{{id: b, agent: w, task: t, {step}}}]\n")
    assert refusal.problems
    assert words in refusal.problems[0]
    assert len(refusal.problems[0]) < 600


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("schedule: {cron: '" + "9" * 190 + " * * * *'}", "is no cron line"),
        ("schedule: {cron: '" + "9" * 5000 + " * * * *'}", "a cron line of 5,008 characters; the limit is 200"),
        ("schedule: {cron: '* * * * *', timezone: " + "x" * 5000 + "}", "no time zone"),
        ("steps: [{id: a, wait: {for: 999999999999d}}]", "must be no longer than 366d"),
    ],
)
def test_times_that_never_come_are_refused(tmp_path: Path, line: str, words: str) -> None:
    rest = "" if line.startswith("steps") else "steps: [{id: a, set: {}}]\n"
    refusal = compile_apart(tmp_path, f"name: x\n{line}\n{rest}")
    assert refusal.problems
    assert words in refusal.problems[0]
    assert len(refusal.problems[0]) < 600


def test_a_drawing_repaints_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "esc.yaml"
    file.write_text(
        'name: x\nsteps: [{id: a, set: {}, when: "${{ \'\\e[2J\\u202e\' == \'x\' }}"}, {id: b, set: {}}]\n'
    )
    for words in (["graph", str(file), "--format", format] for format in ("mermaid", "dot", "text")):
        assert main(words) == 0
    assert main(["plan", str(file)]) == 0
    out = capsys.readouterr().out
    assert "\\x1b[2J" in out
    assert "\x1b" not in out
    assert "\u202e" not in out
