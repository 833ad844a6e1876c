"""Commands about workflow files: nothing here runs a step or starts a server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.agents.loading import load_agents
from orchestrator.cli import options
from orchestrator.cli.compiling import compile_file
from orchestrator.cli.output import print_json
from orchestrator.cli.text import visible
from orchestrator.client import Client
from orchestrator.errors import Problem, StoreUnavailable, WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.store import embedded
from orchestrator.workflow.catalog import Catalog
from orchestrator.workflow.pictures import graph as draw
from orchestrator.workflow.plan import Plan, PlanStep
from orchestrator.workflow.segments import Fan, Segment, Window, segments

FORMATS = ("mermaid", "dot", "text")

File = Annotated[Path, typer.Argument(metavar="FILE", help="The workflow, in YAML.")]

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator validate workflows/*.yaml
  orchestrator validate report.yaml --agents my_agents.py --json
"""
)
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Workflows, in YAML.")],
    agents: options.Agents = None,
    as_json: options.AsJson = False,
) -> None:
    """Check workflow files without running them.

    Every mistake of every file is listed, as FILE:LINE: PLACE: MESSAGE, and the exit code is 2.
    """
    compile_one = _compiler(agents)
    problems: list[Problem] = []
    for file in files:
        try:
            compile_one(file)
        except WorkflowInvalid as error:
            problems.extend(error.problems)
        else:
            if not as_json:
                print(f"{file}: ok")
    if problems:
        raise WorkflowInvalid(problems)
    if as_json:
        print_json({"files": [str(file) for file in files], "errors": []})


@commands.command(
    epilog="""\b
Examples:
  orchestrator graph report.yaml
  orchestrator graph report.yaml --format dot | dot -Tsvg > report.svg
"""
)
def graph(
    file: File,
    format: Annotated[str, typer.Option(metavar="FORMAT", help=f"{' | '.join(FORMATS)}.")] = "mermaid",
    agents: options.Agents = None,
    as_json: options.AsJson = False,
) -> None:
    """Draw a workflow."""
    options.check_word("--format", format, FORMATS)
    picture = draw(_compiler(agents)(file), format)
    print_json({"format": format, "graph": picture}) if as_json else print(visible(picture))


@commands.command(
    epilog="""\b
Example:
  orchestrator plan report.yaml --json
"""
)
def plan(file: File, agents: options.Agents = None, as_json: options.AsJson = False) -> None:
    """Show the chains and chords a workflow will run as.

    Steps with a condition or a foreach, and steps without an agent, are decided when the run reaches them.
    """
    made = _compiler(agents)(file)
    settings = options.load_settings()
    pieces = segments(made, window=settings.window, chord_width=settings.chord_width)
    decided = [step for step in made.steps if not step.dispatched and not step.internal]
    if as_json:
        print_json(_plan_document(made, pieces, decided))
        return
    print(f"{made.name}  plan {made.hash}")
    for piece in pieces:
        print(visible(_sentence(piece)))
    for step in decided:
        print(visible(f"decided  {step.id}  ({_why_decided(step)})"))


def _compiler(agents: list[str] | None) -> Callable[[Path], Plan]:
    """Compiles files against the agents that `--agents` names, or that are online already."""
    settings = options.load_settings(agents)
    registry = load_agents(settings.agents)
    return partial(compile_file, settings=settings, registry=registry, ask_server=partial(_online, settings))


def _online(settings: Settings) -> Catalog:
    """The agents loaded or online; a private server that does not run has none online, and is not started to say so."""
    if settings.embedded and not embedded.status(settings.home).running:
        raise StoreUnavailable
    with Client(settings) as client:
        return client.catalog()


def _plan_document(plan: Plan, pieces: tuple[Segment, ...], decided: list[PlanStep]) -> dict[str, Any]:
    return {
        "workflow": plan.name,
        "version": plan.version,
        "hash": plan.hash,
        "agents": list(plan.agents),
        "segments": [_piece_document(piece) for piece in pieces],
        "decided": [{"id": step.id, "kind": step.kind, "why": _why_decided(step)} for step in decided],
    }


def _piece_document(piece: Segment) -> dict[str, Any]:
    if isinstance(piece, Fan):
        return {"kind": "chord", "header": [list(window.steps) for window in piece.header], "body": piece.body}
    return {"kind": "chain", "steps": list(piece.steps)}


def _sentence(piece: Segment) -> str:
    if isinstance(piece, Fan):
        return f"chord    [{' | '.join(_arrows(window) for window in piece.header)}] -> {piece.body}"
    return f"chain    {_arrows(piece)}"


def _arrows(window: Window) -> str:
    return " -> ".join(window.steps)


def _why_decided(step: PlanStep) -> str:
    if step.when is not None:
        return f"when {step.when}"
    return "a group of its items" if step.kind == "foreach" else step.kind
