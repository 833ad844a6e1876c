"""The documentation is true: its workflows give what it says, its tests pass, its tables match the code.

A block of code that starts with ```` ```yaml file=NAME ```` or ```` ```python file=NAME ```` is a file; all files of
one document are written to one folder. A workflow says in a comment at its end, `# => {...}`, which outputs it gives.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer

from orchestrator import Agent, Settings
from orchestrator.agents.loading import load_agents
from orchestrator.cli.app import COMMANDS
from orchestrator.errors import ExpressionError
from orchestrator.simulation.cases import run_case
from orchestrator.states import HANDOFF_TRANSITIONS, MESSAGE_TRANSITIONS, RUN_TRANSITIONS, TRANSITIONS
from orchestrator.store.keys import Keys
from orchestrator.testing import simulate
from orchestrator.workflow.cel_source import MACROS
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.expressions import render
from orchestrator.workflow.functions import KNOWN
from orchestrator.workflow.loader import load_workflow

ROOT = Path(__file__).parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_CALL = re.compile(r"^(?:\$ )?(?:\w+=\S+ )?orchestrator (\w+)([^|#>\n]*)", re.MULTILINE)
_SETTING = re.compile(r"^\| `ORCHESTRATOR_(\w+)` \| (\S+) \|", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block of code. `file` is the name it stands for, if any; `tests` says that it holds tests."""

    doc: Path
    line: int
    language: str
    file: str
    tests: bool
    text: str

    def __str__(self) -> str:
        return f"{self.doc.relative_to(ROOT)}:{self.line}"

    @property
    def expected(self) -> dict[str, Any]:
        """The outputs that a workflow announces."""
        comment = self.text.partition("# =>")[2]
        return json.loads(re.sub(r"\n#", "\n", comment)) if comment else {}


def blocks() -> Iterator[Block]:
    for doc in DOCS:
        text = doc.read_text("utf-8")
        for found in _BLOCK.finditer(text):
            language, info, code = found.groups()
            words = dict(word.partition("=")[::2] for word in info.split())
            line = text.count("\n", 0, found.start()) + 1
            yield Block(doc, line, language, words.get("file", ""), "tests" in words, code)


BLOCKS = tuple(blocks())
WORKFLOWS = [block for block in BLOCKS if block.language == "yaml" and block.file]
TESTS = [block for block in BLOCKS if block.tests]
DECLARED = [block for block in BLOCKS if block.language == "yaml" and block.text.startswith("agents:")]


@pytest.fixture
def folder(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of the block's document, in a folder that Python imports from."""
    for other in BLOCKS:
        if other.doc == block.doc and other.file:
            (tmp_path / other.file).write_text(other.text, "utf-8")
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def agents_of(folder: Path) -> list[Agent]:
    files = [str(path) for path in folder.glob("*.py") if " = Agent(" in path.read_text("utf-8")]
    registry = load_agents(files)
    return [registry.get(name) for name in registry.names]


@pytest.mark.parametrize("block", WORKFLOWS, ids=str)
def test_a_workflow_of_the_docs_gives_what_they_say(block: Block, folder: Path) -> None:
    cases = load_workflow(block.file).spec.tests
    if not cases:
        run = simulate(block.file, agents=agents_of(folder))
        assert run.status == "succeeded", run.error
        assert run.outputs == block.expected
    plan = compile_workflow(load_workflow(block.file))
    assert [result for case in cases if not (result := run_case(plan, case)).ok] == []


@pytest.mark.parametrize("block", DECLARED, ids=str)
def test_agents_declared_in_the_docs_can_be_loaded(block: Block, tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(block.text, "utf-8")
    assert load_agents([str(tmp_path / "team.yaml")]).names


@pytest.mark.parametrize("block", TESTS, ids=str)
def test_the_tests_in_the_docs_pass(block: Block, folder: Path) -> None:
    tests = {name: value for name, value in vars(import_module(Path(block.file).stem)).items() if name[:5] == "test_"}
    assert tests
    for test in tests.values():
        test()


@pytest.mark.parametrize("file", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda path: path.name)
def test_a_workflow_that_comes_with_it_compiles(file: Path) -> None:
    loaded = load_workflow(file)
    plan = compile_workflow(loaded, agents=load_agents(["workers"]).catalog())
    assert [result for case in loaded.spec.tests if not (result := run_case(plan, case)).ok] == []


def test_functions_named_in_the_docs_exist() -> None:
    text = (ROOT / "docs/workflows.md").read_text("utf-8")
    named = re.findall(r"`([^`]*)`", text.partition("- **Functions**")[2].partition("An unknown one")[0])
    words = {word for words in named for word in words.split()}
    assert len(words) > 40
    assert words <= KNOWN | MACROS


@pytest.mark.parametrize("expression", ["inputs.n * inputs.share", "steps.b.output.text"])
def test_a_failing_expression_says_what_the_docs_say(expression: str) -> None:
    skipped = {"output": None, "status": "skipped", "error": None, "attempts": 0}
    scope = {"inputs": {"n": 1, "share": 0.5}, "steps": {"b": skipped}, "run": {}}
    with pytest.raises(ExpressionError) as failed:
        render(f"${{{{ {expression} }}}}", scope)
    reason = failed.value.message.partition("}}: ")[2]
    assert reason in " ".join((ROOT / "docs/workflows.md").read_text("utf-8").split())


def test_python_in_the_docs_is_python() -> None:
    for block in BLOCKS:
        if block.language == "python":
            compile(block.text, str(block), "exec")


def test_every_whole_workflow_in_the_docs_is_tested() -> None:
    assert [str(block) for block in BLOCKS if block.text.startswith("name:") and not block.file] == []


def test_commands_and_their_options_exist() -> None:
    called = {
        (str(block), command, options)
        for block in BLOCKS
        for command, options in _CALL.findall(block.text)
        if block.language in ("sh", "console")
    }
    assert called
    for place, command, words in called:
        assert command in COMMANDS, f"{place}: orchestrator {command}"
        known = {"--help"}.union(*(parameter.opts for parameter in command_of(command).params))
        assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", words)) <= known, f"{place}: orchestrator {command}{words}"


def command_of(name: str) -> Any:
    group: Any = typer.main.get_group(import_module(f"orchestrator.cli.{COMMANDS[name][0]}").commands)
    return group.commands[name]


def test_every_command_and_every_option_is_in_operations() -> None:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    for name in COMMANDS:
        row = re.search(rf"^\| `{name}[ `].*$", text, re.MULTILINE)
        assert row, name
        options = {parameter.opts[0] for parameter in command_of(name).params if parameter.opts[0].startswith("-")}
        assert [option for option in options - {"--agents", "--json"} if f"`{option}" not in row[0]] == [], name


def test_the_table_of_settings_is_that_of_the_code() -> None:
    rows = _SETTING.findall((ROOT / "docs/operations.md").read_text("utf-8"))
    documented = {name.lower(): default.strip("`") for name, default in rows}
    defaults = {name: field.default for name, field in Settings.model_fields.items() if not field.exclude}
    assert documented == {name: shown(default) for name, default in defaults.items()}


def shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    return "none" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def test_the_state_tables_are_those_of_the_code() -> None:
    steps, runs = (ROOT / "docs/lifecycle.md").read_text("utf-8").partition("## Runs")[::2]
    assert moves(steps) == {(old.value, new.value) for old, targets in TRANSITIONS.items() for new in targets}
    assert moves(runs) == {(old.value, new.value) for old, targets in RUN_TRANSITIONS.items() for new in targets}


def moves(text: str) -> set[tuple[str, str]]:
    states = "pending|running|waiting|paused|succeeded|failed|cancelled|skipped"
    return set(re.findall(rf"^\| ({states}) \| ({states}) \|", text, re.MULTILINE))


def test_the_tables_of_messages_are_those_of_the_code() -> None:
    text = (ROOT / "docs/messages.md").read_text("utf-8")
    titles = {("from", "to"), ("for", "use")}
    rows = (re.findall(r"^\| ([a-z_]+) \| ([a-z_]+) \|", part, re.MULTILINE) for part in text.split("## Handoffs"))
    delivery, handoffs = (set(found) - titles for found in rows)
    assert delivery == {(old.value, new.value) for old, targets in MESSAGE_TRANSITIONS.items() for new in targets}
    assert handoffs == {(old.value, new.value) for old, targets in HANDOFF_TRANSITIONS.items() for new in targets}


def test_every_key_is_in_internals() -> None:
    text = (ROOT / "docs/internals.md").read_text("utf-8")
    keys = Keys("o:")
    run = [keys.run("ID"), keys.steps("ID"), keys.outputs("ID"), keys.events("ID"), keys.log("ID"), keys.plan("HASH")]
    limits = [keys.slots("KEY"), keys.limit("KEY"), keys.cache("DIGEST")]
    for key in chain(run, keys.permanent, limits, [keys.keeper, keys.idempotency("KEY")]):
        assert f"`{key}`" in text, key


@pytest.mark.parametrize("doc", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(doc: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", doc.read_text("utf-8")):
        there = (doc.parent / target).resolve() if target else doc
        assert there.exists(), f"{doc.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], anchor
