"""`orchestrator audit`: what was accepted, where it is, and what cannot be accounted for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli import options
from orchestrator.cli.output import console, look, print_json, say
from orchestrator.cli.text import moment, visible
from orchestrator.client import Client
from orchestrator.durations import duration
from orchestrator.store.audit.report import Report, Tally

FOUND = 1
SHOWN = 50
_EVERY_S = 2.0  # an audit that takes longer than this says how far it is

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator audit
  orchestrator audit --against journal.jsonl --against accepted-ids.txt
  orchestrator audit --json | jq -r '.findings[] | .about + " " + .id + ": " + .problem'

\b
Exit codes: 0 everything is accounted for, 1 something is not,
4 the server is not available.
"""
)
def audit(
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Accepted ids, one a line, or lines of `sink file`. Repeatable."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Prove from the records that nothing is lost, stuck or left over.

    Changes nothing, and works while everything goes on.
    """
    with Client(options.load_settings()) as client:
        report = client.audit(against or (), _Progress())
    if as_json:
        print_json(report.to_json())
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(FOUND)


class _Progress:
    """One line on standard error every few seconds."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._said_at = time.monotonic()

    def __call__(self, what: str, done: int) -> None:
        self._counts[what] = self._counts.get(what, 0) + done
        if time.monotonic() - self._said_at >= _EVERY_S:
            self._said_at = time.monotonic()
            say(f"looked at {self._counts[what]} {what} ...")


def _print(report: Report) -> None:
    for name in ("runs", "steps", "messages"):
        console().print(_sum(name, getattr(report, name)), soft_wrap=True)
    if report.expired:
        _note(f"{report.expired} more ended, as the journal tells, and their records have expired")
    if report.untold:
        _note(f"{report.untold} more are older than the retention, and nothing tells how they ended")
    if report.quarantine:
        _note(f"{report.quarantine} in quarantine: no worker could read them", "yellow")
    _note(f"kept here since {moment(report.founded_ms)}" if report.founded_ms else "no worker has run here yet")
    for finding in report.findings[:SHOWN]:
        text = f"  {finding.about} {finding.id}: {finding.problem}"
        console().print(Text.assemble(look("fail"), visible(text)), soft_wrap=True)
    if len(report.findings) > SHOWN:
        _note(f"... and {len(report.findings) - SHOWN} more; --json lists all")
    took = duration(report.took_ms)
    if report.ok:
        console().print(Text.assemble(look("ok"), f"  everything is accounted for ({took})"), soft_wrap=True)
    else:
        n = len(report.findings)
        what = "1 thing is" if n == 1 else f"{n} things are"
        console().print(Text(f"{what} not accounted for ({took})", style="bold red"), soft_wrap=True)


def _sum(name: str, tally: Tally) -> Text:
    parts = f"{tally.queued} queued + {tally.leased} leased + {tally.waiting} waiting + {tally.terminal} terminal"
    line = Text(f"{name + ':':9} {tally.accepted} accepted = {parts}")
    if tally.unaccounted:
        line.append(f" + {tally.unaccounted} UNACCOUNTED FOR", style="bold red")
    return line


def _note(text: str, style: str = "dim") -> None:
    console().print(Text(f"          {visible(text)}", style=style), soft_wrap=True)
