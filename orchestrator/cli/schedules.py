"""Commands about time: workflows that start by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.agents.loading import load_agents
from orchestrator.cli import options
from orchestrator.cli.compiling import compile_file
from orchestrator.cli.inputs import read_inputs
from orchestrator.cli.output import console, print_json, say, table
from orchestrator.cli.text import moment
from orchestrator.client import Client
from orchestrator.documents import schedule_document
from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.store.schedules import Schedule
from orchestrator.workflow.cron import CATCHUPS, OVERLAPS
from orchestrator.workflow.nearby import did_you_mean, listed

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator schedule report.yaml
  orchestrator schedule report.yaml --cron "0 9 * * MON-FRI" --timezone Europe/Berlin -i topic=rain
  orchestrator schedule report.yaml --name weekly --cron "0 9 * * MON" --overlap queue --catchup all

\b
A worker has to run when it is due: one of them starts the run.
"""
)
def schedule(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The workflow, in YAML.")],
    cron: Annotated[
        str | None, typer.Option(metavar="LINE", help="Minute, hour, day, month, weekday; default: the file's.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="As Europe/Berlin; default: the file's, or UTC.")
    ] = None,
    overlap: Annotated[
        str | None, typer.Option(metavar="WORD", help=f"The run before is not over: {' | '.join(OVERLAPS)}.")
    ] = None,
    catchup: Annotated[
        str | None, typer.Option(metavar="WORD", help=f"Due times that were missed: {' | '.join(CATCHUPS)}.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Of the schedule; default: the workflow's.")] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("-i", "--input", metavar="NAME=VALUE", help="One input of its runs. Repeatable."),
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="All inputs as one JSON object; - reads standard input.")
    ] = None,
    agents: options.Agents = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a workflow start by itself.

    What is not given is as the file's `schedule` says. A schedule of the same name is replaced. It keeps the workflow
    as it is now: set it up again when the file has changed.
    """
    options.check_word("--overlap", overlap, OVERLAPS)
    options.check_word("--catchup", catchup, CATCHUPS)
    settings = options.load_settings(agents)
    registry = load_agents(settings.agents)
    with Client(settings) as client:
        plan = compile_file(file, settings, registry, client.catalog)
        own = dict((plan.schedule or {}).get("inputs", {}))
        values = read_inputs(plan, given or [], inputs, own)
        made = client.schedule(
            plan, values, name=name, cron=cron, timezone=timezone, overlap=overlap, catchup=catchup
        )  # fmt: skip
    if as_json:
        print_json(schedule_document(made))
    else:
        say(f"schedule {made.name}: {made.workflow} is due {_when(made.next_ms)} ({made.cron}, {made.timezone})")


@commands.command(
    epilog="""\b
Example:
  orchestrator schedules --json | jq -r '.[].next_at'
"""
)
def schedules(as_json: options.AsJson = False) -> None:
    """List what starts by itself, and when."""
    with Client(options.load_settings()) as client:
        found = client.schedules()
    if as_json:
        print_json([schedule_document(one) for one in found])
    elif found:
        columns = ("name", "workflow", "cron", "timezone", "next", "last", "last run", "skipped")
        console().print(table(columns, [_row(one) for one in found], flexible="cron"))
    else:
        say("no schedule; `orchestrator schedule FILE` sets one up")


@commands.command(
    epilog="""\b
Example:
  orchestrator unschedule report
"""
)
def unschedule(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The schedule, as `schedules` lists it.")],
    as_json: options.AsJson = False,
) -> None:
    """Forget a schedule; runs it has started go on."""
    with Client(options.load_settings()) as client:
        if not client.unschedule(name):
            known = [one.name for one in client.schedules()]
            near = did_you_mean(name, known) or (f"; there is {listed(known)}" if known else "; there is none")
            raise WorkflowInvalid([Problem("", 0, "", f"no schedule {name!r}{near}")])
    print_json({"name": name}) if as_json else say(f"schedule {name} is gone")


def _row(one: Schedule) -> list[str]:
    last = "" if one.last_ms is None else moment(one.last_ms)
    skipped = str(one.skipped) if one.skipped else ""
    return [one.name, one.workflow, one.cron, one.timezone, _when(one.next_ms), last, one.last_run or "", skipped]


def _when(ms: int | None) -> str:
    return "never again" if ms is None else moment(ms)
