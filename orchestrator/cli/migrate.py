"""`orchestrator migrate`: from tmux windows to inboxes, agent by agent."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from orchestrator.agents.migration import Migration, Parity, Path
from orchestrator.cli import options
from orchestrator.cli.output import console, print_json, say, table
from orchestrator.client import Client
from orchestrator.store.connection import guard

ACTIONS = ("begin", "shadow", "report", "cutover", "rollback", "decommission")

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Example, for an agent in the window agent-pm of the session hive:
  orchestrator migrate begin pm-agent --window hive:agent-pm
  orchestrator worker tmux --agents workers.tmux &
  orchestrator migrate shadow pm-agent
  orchestrator migrate report
  orchestrator migrate cutover pm-agent
  orchestrator migrate decommission
"""
)
def migrate(
    action: Annotated[str, typer.Argument(metavar="ACTION", help=" | ".join(ACTIONS))] = "report",
    agent: Annotated[str | None, typer.Argument(metavar="[AGENT]", help="Not for report and decommission.")] = None,
    window: Annotated[str | None, typer.Option(metavar="SESSION:WINDOW", help="Where it lives, for begin.")] = None,
    socket: Annotated[str | None, typer.Option(metavar="NAME", help="The tmux socket, as for tmux -L.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Move agents from tmux windows to inboxes: both ways at first, then cut over.

    begin: into the window only. shadow: both ways. cutover: to the inbox only, at 100 % parity.
    rollback: into the window again. decommission: forget the windows, when all are cut over.
    """
    options.check_word("ACTION", action, ACTIONS)
    if (agent is None) != (action in ("report", "decommission")):
        raise typer.BadParameter(f"{action} takes {'no' if agent else 'an'} agent", param_hint="AGENT")
    with Client(options.load_settings()) as client, guard(client.url):
        migration = Migration(client.office)
        if action == "begin":
            migration.begin(str(agent), window or "", socket)
        elif action == "decommission":
            gone = migration.decommission()
            print_json({"decommissioned": gone}) if as_json else say(f"tmux is given up for {', '.join(gone)}")
            return
        elif action != "report":
            change = {"shadow": migration.shadow, "cutover": migration.cut_over, "rollback": migration.roll_back}
            change[action](str(agent))
        found = [one for one in migration.report() if agent in (None, one.agent)]
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        columns = ("agent", "mode", "window", "path", "sent", "delivered", "acknowledged", "p50 ms", "p95 ms", "parity")
        rows = [row for one in found for row in (_row(one, "tmux", one.tmux), _row(one, "bus", one.bus))]
        console().print(table(columns, rows))
    else:
        say("no agent is moved over; `orchestrator migrate begin AGENT --window SESSION:WINDOW` begins")


def _row(one: Parity, name: str, path: Path) -> tuple[str, ...]:
    times = (f"{value:.0f}" if value is not None else "" for value in (path.p50_ms, path.p95_ms))
    counts = (str(path.sent), str(path.delivered), str(path.acknowledged))
    return one.agent, one.mode.value, one.window, name, *counts, *times, f"{one.parity:.0%}" if name == "bus" else ""
