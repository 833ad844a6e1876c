"""`orchestrator rerun`: run a finished run again, without paying twice for what it has done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.agents.loading import load_agents
from orchestrator.agents.rerun import Rerun
from orchestrator.cli import options
from orchestrator.cli.compiling import compile_file
from orchestrator.cli.output import say
from orchestrator.cli.run import start
from orchestrator.cli.runs import find_run
from orchestrator.client import Client
from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.run_handle import RunHandle
from orchestrator.workflow.nearby import listed

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator rerun 06bz3k
  orchestrator rerun 06bz3k --from outline
  orchestrator rerun 06bz3k --patch 'score={"value": 9}'
  orchestrator rerun 06bz3k --definition mended.yaml --detach

\b
It is a run of its own; the old one stays as it is. What has been undone
(compensate) is not reused, nor is what comes after something that runs again.
"""
)
def rerun(
    run_id: options.RunId,
    from_step: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Run this step again, and all that come after it.")
    ] = None,
    patch: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP=JSON", help="An output that counts instead of the step's own. Repeatable."),
    ] = None,
    definition: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A workflow file in place of the one the run is pinned to.")
    ] = None,
    agents: options.Agents = None,
    timeout: options.Timeout = None,
    detach: options.Detach = False,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormat = None,
    as_json: options.AsJson = False,
) -> None:
    """Run a run again that is over: what it has finished is reused.

    Without options, from the step that failed. Prints first what will run and what is reused; then it follows the
    new run as `run` does.
    """
    patches = dict(_read_patch(text) for text in patch or [])
    settings = options.load_settings(agents, log_format)
    registry = load_agents(settings.agents)

    def submit(client: Client) -> RunHandle:
        handle = find_run(client, run_id)
        plan = compile_file(definition, settings, registry, client.catalog) if definition else None
        chosen = handle.plan_rerun(from_step=from_step, patch=patches, definition=plan)
        if not chosen.runs:
            message = f"nothing of run {handle.id} is left to run again; name a step with --from"
            raise WorkflowInvalid([Problem("", 0, "", message)])
        _tell(chosen)
        return client.rerun(chosen)

    start(submit, settings, registry, detach=detach, timeout=timeout, log_level=log_level, as_json=as_json)


def _read_patch(text: str) -> tuple[str, Any]:
    step, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r}: write STEP=JSON", param_hint="--patch")
    return step, options.read_json(f"--patch {step}", value)


def _tell(chosen: Rerun) -> None:
    reused = [name for name in chosen.reused if name not in chosen.patched]
    items = [f"{count} items of {name}" for name, count in chosen.items.items() if count]
    for what, names in (("reused", [*reused, *items]), ("patched", chosen.patched), ("runs", chosen.runs)):
        if names:
            say(f"{what + ':':9}{listed(names)}")
