"""`orchestrator up`: serve all agents, with everything around them."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from orchestrator.agents.loading import AgentRegistry, load_agents
from orchestrator.cli import options
from orchestrator.cli.output import console, print_json, say
from orchestrator.cli.worker import agent_process
from orchestrator.client import Client
from orchestrator.errors import OrchestratorError
from orchestrator.runtime.launcher import Launcher
from orchestrator.runtime.lifecycle import require_key
from orchestrator.settings import mask_password
from orchestrator.store.server_settings import require_strong_server
from orchestrator.web.server import FlowerServer

UP_GRACE_S = 10.0  # for running attempts after Ctrl-C; what is cut off then runs again next time
UP_S = 20.0  # until every worker has reported and Flower answers; then `up` says who has not
FLOWER = "Flower server"  # with a space, so that no agent has this name

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator up
  orchestrator up --agents my_agents.py --no-flower
"""
)
def up(
    agents: options.Agents = None,
    concurrency: options.Concurrency = None,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Do not start Flower.")] = False,
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="Flower's port; 0: any free one.")] = 5555,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormat = None,
    as_json: options.AsJson = False,
) -> None:
    """Start the server, a worker for every agent, and Flower.

    Everything runs until Ctrl-C, which lets running steps finish for ten seconds.
    """
    settings = options.load_settings(agents, log_format)
    options.log_to_stderr(log_level, settings.log_format)
    options.treat_sigterm_as_ctrl_c()
    registry = load_agents(settings.agents)
    require_key(settings)
    require_strong_server(settings)
    flower = None if no_flower else FlowerServer(settings, port)
    if flower:
        flower.announce()
    workers = agent_process(settings, registry, log_level=log_level, concurrency=concurrency)

    def process(name: str) -> int:
        return flower.serve() if flower and name == FLOWER else workers(name)

    # The supervisor is forked before the client connects: a fork must not inherit a connection.
    with Launcher(process, grace_s=UP_GRACE_S) as launcher:
        try:
            with Client(settings) as client:
                launcher.start([*registry.names, *([FLOWER] if flower else [])])
                _wait_until_up(client, launcher, registry, flower)
                _tell_what_runs(client, registry, flower, as_json)
                while launcher.alive:
                    time.sleep(0.5)
            raise OrchestratorError("The process that looks after the workers was killed")
        except KeyboardInterrupt:
            say("stopping")
        finally:
            if flower:
                flower.withdraw()  # also of one that was killed


def _wait_until_up(client: Client, launcher: Launcher, registry: AgentRegistry, flower: FlowerServer | None) -> None:
    """Wait for the first heartbeat of each agent, and for Flower."""
    deadline = time.monotonic() + UP_S
    while launcher.alive:
        online = {agent["name"] for agent in client.agents() if agent["presence"] == "online"}
        late = [name for name in registry.names if name not in online]
        if flower and not flower.answers():
            late.append(FLOWER)
        if not late:
            return
        if time.monotonic() > deadline:
            say(f"not up after {UP_S:.0f} s: {', '.join(late)}")
            return
        time.sleep(0.1)


def _tell_what_runs(client: Client, registry: AgentRegistry, flower: FlowerServer | None, as_json: bool) -> None:
    server = mask_password(client.url)
    if as_json:
        print_json({"server": server, "agents": list(registry.names), "flower": flower.link if flower else None})
    else:
        print(f"server  {server}")
        print(f"agents  {', '.join(registry.names)}")
        if flower:
            print(f"flower  {flower.link}")
        print("Ctrl-C stops everything")
    # Whoever started this with a pipe waits for these lines.
    console().file.flush()
