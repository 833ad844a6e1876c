"""`orchestrator metrics`: what waits, what runs and what happened, printed once or served until Ctrl-C."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from orchestrator.cli import options
from orchestrator.cli.output import print_json, say
from orchestrator.client import Client
from orchestrator.metrics.formats import to_json, to_text
from orchestrator.metrics.gathering import gather
from orchestrator.metrics.server import MetricsServer

LOOPBACK = "127.0.0.1"

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator metrics
  orchestrator metrics --json | jq .agents.writer.load
  orchestrator metrics --port 9464
  curl http://127.0.0.1:9464/metrics.json

\b
Served are /metrics, Prometheus' text format, and /metrics.json, what --json
prints. There is no password: open it to a network that may know the names
of your agents and workflows. docs/metrics.md lists all series.
"""
)
def metrics(
    port: Annotated[
        int | None, typer.Option(metavar="PORT", min=0, max=65535, help="Serve them until Ctrl-C; 0: any free port.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help=f"Where to listen; default: {LOOPBACK}, this machine only.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Print what waits, what runs and what happened, for Prometheus; or serve it.

    Queues by agent and priority; runs, steps and messages by state; durations and waits as histograms. What happened
    is counted by the server, from when somebody first asks and with what the journal then has.
    """
    if port is None and host is not None:
        raise typer.BadParameter("only with --port", param_hint="--host")
    if port is not None and as_json:
        raise typer.BadParameter("not with --port, which serves both", param_hint="--json")
    with Client(options.load_settings()) as client:
        if port is not None:
            _serve(client, host or LOOPBACK, port)
        elif as_json:
            print_json(to_json(gather(client)))
        else:
            print(to_text(gather(client)).decode(), end="")


def _serve(client: Client, host: str, port: int) -> None:
    options.treat_sigterm_as_ctrl_c()
    with MetricsServer(host, port, partial(gather, client)) as server:
        say(f"metrics at {server.url}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("stopping")
