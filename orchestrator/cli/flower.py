"""`orchestrator flower`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orchestrator.cli import options
from orchestrator.cli.flower_server import FlowerServer
from orchestrator.cli.output import print_json
from orchestrator.client import Client

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator flower
  orchestrator flower --port 8080 --basic-auth ada:secret

\b
The link holds a random token. It is kept in flower.url in the state folder,
which only you can read, and opening it leaves a cookie.
"""
)
def flower(
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0 takes any free one.")] = 5555,
    basic_auth: Annotated[
        list[str] | None,
        typer.Option(metavar="USER:PASSWORD", help="Ask for these instead of the link's token. Repeatable."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Watch the workers in a browser, with Flower.

    It listens on this machine only, until Ctrl-C.
    """
    options.log_to_stderr("warning")
    settings = options.load_settings()
    for pair in basic_auth or []:
        if ":" not in pair:
            raise typer.BadParameter("write user:password", param_hint="--basic-auth")
    Client(settings).close()  # a server that is away shows here, with exit code 4, and not in a log
    server = FlowerServer(settings, port, basic_auth)
    print_json({"flower": server.link}) if as_json else print(server.link)
    sys.stdout.flush()
    server.serve()
