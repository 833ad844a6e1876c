"""`orchestrator logs`: what the handlers of a run have logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from orchestrator.cli import options
from orchestrator.cli.output import print_json_line, say
from orchestrator.cli.reading_on import read_on, say_away
from orchestrator.cli.runs import find_run
from orchestrator.cli.text import clock, visible
from orchestrator.client import Client
from orchestrator.records import LogLine
from orchestrator.store.run_log import BEGINNING

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator logs 06bz3k
  orchestrator logs 06bz3k draft --follow
  orchestrator logs 06bz3k --json | jq -r .text

\b
Kept are lines from INFO upwards of ctx.log and of the loggers of the module
(or package) that the handler is in; what it prints is in the worker's log.
"""
)
def logs(
    run_id: options.RunId,
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="Only of this step; of a foreach, of all its items.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Print what the handlers of a run have logged.

    With --json, one object a line: id, at, step, attempt, agent, level, logger, text.
    """
    printed = False
    with Client(options.load_settings()) as client:
        handle = find_run(client, run_id)

        def read(after: str) -> Iterator[LogLine]:
            return handle.logs(step, follow=follow, after=after)

        lines = read_on(client, read, BEGINNING, say_away) if follow else read(BEGINNING)
        dropped = handle.logs_dropped()
        if dropped:
            say(f"the oldest {dropped:,} lines are dropped; a run keeps {client.settings.log_lines:,}")
        for line in lines:
            printed = True
            if as_json:
                print_json_line(line.to_json())
            else:
                print(_sentence(line), flush=follow)
    if not printed:
        say("nothing was logged")


def _sentence(line: LogLine) -> str:
    attempt = f"#{line.attempt}" if line.attempt > 1 else ""
    text = visible(line.text).replace("\n", "\n  ")
    return f"{clock(line.at)} {line.level.upper():<7} {visible(line.step)}{attempt} {text}"
