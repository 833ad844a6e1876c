"""`orchestrator flower`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orchestrator.cli import options
from orchestrator.cli.output import print_json
from orchestrator.client import Client
from orchestrator.web.server import LOOPBACK, Access

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="""\b
Examples:
  orchestrator flower
  orchestrator flower --port 8080 --read-only
  orchestrator flower --basic-auth ada:secret --address 0.0.0.0 --host flower.example.com
  orchestrator flower --auth=.*@example.com --auth_provider=flower.views.auth.GithubLoginHandler

\b
The link works once, and leaves a cookie for 30 days. It is kept in flower.url
in the state folder, which only you can read; once used, the next one is there.
Options of Flower's own are passed on, written as --name=value, as are the
variables FLOWER_NAME and a file flowerconfig.py.
""",
)
def flower(
    ctx: typer.Context,
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0 takes any free one.")] = 5555,
    address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; others than this machine need a login.")
    ] = LOOPBACK,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name it is opened under, besides this machine's. Repeatable."),
    ] = None,
    basic_auth: Annotated[
        list[str] | None,
        typer.Option(metavar="USER:PASSWORD", help="Ask for these instead of the link's token. Repeatable."),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show everything, let nothing be changed.")] = False,
    control: Annotated[
        bool, typer.Option("--control", help="Let Flower's own pages and API stop workers and send or revoke tasks.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Watch workflows, agents and workers in a browser, with Flower.

    It listens on this machine only, until Ctrl-C.
    """
    # Flower's own options tell whether there is a login, and so which link to print: they are read first.
    from orchestrator.web.flower_options import configure

    options.log_to_stderr("warning")
    settings = options.load_settings()
    if read_only and control:
        raise typer.BadParameter("not with --read-only", param_hint="--control")
    pairs = [pair for given in basic_auth or [] for pair in _pairs(given)]
    access = Access(tuple(pairs), hosts=tuple(host or ()), read_only=read_only, control=control)
    server = configure(settings, port, access, address=address, arguments=ctx.args)
    Client(settings).close()  # a server that is away shows here, with exit code 4, and not in a log
    server.announce()
    print_json({"flower": server.link}) if as_json else print(server.link)
    sys.stdout.flush()
    server.serve()


def _pairs(given: str) -> list[str]:
    """Flower separates users by commas; a comma in a password is one if what follows is no pair."""
    parts = given.split(",")
    return parts if all(":" in part for part in parts) else [given]
