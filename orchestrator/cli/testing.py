"""`orchestrator test` and `orchestrator schema`: what an author of workflow files needs beside `validate`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from orchestrator.agents.loading import load_agents
from orchestrator.cli import options
from orchestrator.cli.output import console, print_json, say
from orchestrator.cli.text import one_line
from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.simulation.cases import MISSING, CaseResult, run_case
from orchestrator.workflow.catalog import Catalog
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from orchestrator.workflow.plan import Plan
from orchestrator.workflow.schema import file_schema
from orchestrator.workflow.spec import Case

FAILED = 1
SHOWN = 1000  # characters of a value beside the one that was expected

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    "test",
    epilog="""\b
Examples:
  orchestrator test workflows/*.yaml
  orchestrator test report.yaml --agents my_agents.py --json
""",
)
def run_tests(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Workflows, in YAML.")],
    agents: options.Agents = None,
    as_json: options.AsJson = False,
) -> None:
    """Run the tests that workflow files contain.

    Nothing else runs: no server, no worker, no agent; time is virtual. With --agents the files are also checked against
    the agents. The exit code is 1 if a test fails.
    """
    logging.getLogger("orchestrator.agents.executor").setLevel(logging.CRITICAL)  # attempts may be meant to fail
    settings = options.load_settings(agents)
    known = load_agents(settings.agents).catalog() if agents else None
    loaded = _load(files, settings, known)
    results = []
    for file, plan, cases in loaded:
        found = [run_case(plan, case, settings) for case in cases]
        results.append((file, found))
        if not as_json:
            _print_results(file, found)
    failed = sum(not result.ok for _, found in results for result in found)
    passed = sum(result.ok for _, found in results for result in found)
    if as_json:
        shown = [{"file": str(file), "cases": [_document(result) for result in found]} for file, found in results]
        print_json({"passed": passed, "failed": failed, "files": shown})
    else:
        say(f"{passed} ok, {failed} failed")
    if failed:
        raise typer.Exit(FAILED)


@commands.command(
    epilog="""\b
Example:
  orchestrator schema > workflow.schema.json

\b
In an editor with a YAML language server, the first line of a workflow may be
  # yaml-language-server: $schema=workflow.schema.json
"""
)
def schema(as_json: options.AsJson = False) -> None:
    """Print the JSON Schema of workflow files, for editors."""
    print_json(file_schema())


def _load(files: list[Path], settings: Settings, known: Catalog | None) -> list[tuple[Path, Plan, list[Case]]]:
    """The files with their plans and tests. Raises WorkflowInvalid with the mistakes of all of them."""
    found, problems = [], list[Problem]()
    for file in files:
        try:
            loaded = load_workflow(file, limits=settings)
            found.append((file, compile_workflow(loaded, agents=known, limits=settings), loaded.spec.tests))
        except WorkflowInvalid as invalid:
            problems += invalid.problems
    if problems:
        raise WorkflowInvalid(problems)
    return found


def _print_results(file: Path, results: list[CaseResult]) -> None:
    if not results:
        print(f"{file}: has no tests")
        return
    print(file)
    width = max(len(one_line(result.name)) for result in results)
    for result in results:
        word, style = ("ok    ", "green") if result.ok else ("FAILED", "red")
        name = one_line(result.name).ljust(width)
        console().print(Text.assemble("  ", (word, style), f"  {name}  {result.took_ms:5.0f} ms"), soft_wrap=True)
        if result.problem:
            print(f"          {one_line(result.problem, limit=SHOWN)}")
        _print_differences(result)


def _print_differences(result: CaseResult) -> None:
    width = max((len(difference.what) for difference in result.differences), default=0)
    for difference in result.differences:
        print(f"          {difference.what.ljust(width)}  expected  {_shown(difference.what, difference.expected)}")
        print(f"          {' ' * width}  actual    {_shown(difference.what, difference.actual)}")


def _shown(what: str, value: Any) -> str:
    if value is MISSING:
        return "(none)"
    words = json.dumps(value, ensure_ascii=False) if what.startswith("outputs.") else str(value)
    return one_line(words, limit=SHOWN)


def _document(result: CaseResult) -> dict[str, Any]:
    differences = [
        {"what": found.what}
        | {word: value for word in ("expected", "actual") if (value := getattr(found, word)) is not MISSING}
        for found in result.differences
    ]
    return {
        "name": result.name,
        "ok": result.ok,
        "took_ms": round(result.took_ms, 1),
        "problem": result.problem,
        "differences": differences,
    }
