"""What becomes of an error, and what a command may cost before it starts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

from orchestrator.cli import app
from orchestrator.errors import (
    AgentsNotLoadable,
    OrchestratorError,
    Problem,
    RunNotFound,
    StoreUnavailable,
    WaitTimeout,
    WorkflowInvalid,
)


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make the command `runs` end with this error."""
    commands = typer.Typer(rich_markup_mode=None)

    @commands.command("runs")
    def runs(as_json: bool = typer.Option(False, "--json")) -> None:
        raise error

    @commands.command("show")
    def show() -> None: ...

    monkeypatch.setattr(app, "import_module", lambda name: type("module", (), {"commands": commands}))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkflowInvalid([Problem("a.yaml", 3, "steps.0", "bad")]), 2),
        (RunNotFound("no run 'x'"), 2),
        (AgentsNotLoadable("team.py: SyntaxError"), 2),
        (WaitTimeout("still running"), 3),
        (StoreUnavailable("no answer"), 4),
        (OrchestratorError("the workers were killed"), 1),
        (ZeroDivisionError("division by zero"), 1),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
        (typer.Exit(1), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    raising(monkeypatch, error)
    assert app.main(["runs"]) == code
    assert "Traceback" not in capfd.readouterr().err


def test_invalid_input_is_listed_as_json_and_in_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, WorkflowInvalid([Problem("a.yaml", 3, "steps.0", "bad"), Problem("a.yaml", 5, "", "worse")]))
    assert app.main(["runs", "--json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["errors"][0] == {"file": "a.yaml", "line": 3, "path": "steps.0", "message": "bad"}
    assert said.err.splitlines() == ["a.yaml:3: steps.0: bad", "a.yaml:5: worse"]


def test_control_characters_of_a_message_do_not_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, RunNotFound("no run '\x1b[2J'"))
    app.main(["runs"])
    assert capsys.readouterr().err == "no run '\\x1b[2J'\n"


@pytest.mark.parametrize(
    ("words", "begins", "ends"),
    [
        (["rnu"], "no command 'rnu' (did you mean run?)", "(see orchestrator --help)"),
        (["runs", "--jsno"], "no such option: --jsno", "(see orchestrator runs --help)"),
    ],
)
def test_wrong_usage_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], begins: str, ends: str
) -> None:
    raising(monkeypatch, OrchestratorError())
    assert app.main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(begins)
    assert line.endswith(ends)


def test_help_lists_every_command_and_imports_neither_celery_nor_redis() -> None:
    program = (
        "import sys; from orchestrator.cli.app import main; code = main(['--help']);"
        "sys.exit(code or any(name in sys.modules for name in ('celery', 'redis', 'flower', 'rich', 'pydantic_core')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, (_, summary) in app.COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert summary.split()[0] in done.stdout


def test_summaries_are_the_first_sentences_of_the_commands_own_help() -> None:
    root = typer.main.get_command(app.root)
    context = typer.Context(root)
    for name, (_, summary) in app.COMMANDS.items():
        command = root.get_command(context, name)  # type: ignore[attr-defined]
        assert command.help.splitlines()[0] == summary
        assert all(getattr(option, "help", "-") for option in command.params), name
