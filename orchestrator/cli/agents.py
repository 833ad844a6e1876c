"""`orchestrator agents`: who can do what, who is there, what waits."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli import options
from orchestrator.cli.output import console, look, print_json, say, table
from orchestrator.client import Client

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator agents
  orchestrator agents --capability writing --json
"""
)
def agents(
    capability: Annotated[str | None, typer.Option(metavar="C", help="Only agents that can do this.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the agents: what they can do, who is online, what waits for them.

    An agent is known once a worker has served it.
    """
    with Client(options.load_settings()) as client:
        found = client.agents(capability)
    if as_json:
        print_json(found)
    elif found:
        columns = ("agent", "presence", "activity", "running", "workers", "waiting", "capabilities")
        console().print(table(columns, [_agent_row(agent) for agent in found]))
    else:
        say("no agent has been served yet; `orchestrator up` starts a worker for each")


def _agent_row(agent: dict[str, Any]) -> tuple[Any, ...]:
    waiting = ", ".join(f"{count} {priority}" for priority, count in agent["queue"].items() if count) or "0"
    counts = str(agent["running"]), str(len(agent["workers"]))
    return agent["name"], look(agent["presence"]), agent["activity"], *counts, waiting, ", ".join(agent["capabilities"])
