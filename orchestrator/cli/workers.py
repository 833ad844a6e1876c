"""Commands about agents: serve some (`worker`), serve all with everything around them (`up`), list them (`agents`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, cast

import typer

from orchestrator.agents.loading import AgentRegistry, load_agents
from orchestrator.cli import options
from orchestrator.cli.flower_server import FlowerServer
from orchestrator.cli.output import console, look, print_json, say, table
from orchestrator.client import Client
from orchestrator.errors import OrchestratorError, UnknownAgent
from orchestrator.runtime.app import make_app
from orchestrator.runtime.launcher import Launcher
from orchestrator.runtime.supervisor import Supervisor
from orchestrator.runtime.worker import Pool, serve
from orchestrator.settings import Settings, mask_password
from orchestrator.store.server_settings import require_strong_server

UP_GRACE_S = 10.0  # for running attempts after Ctrl-C; what is cut off then runs again next time
UP_S = 20.0  # until every worker has reported and Flower answers; then `up` says who has not
POOLS = ("prefork", "threads")
FLOWER = "Flower server"  # with a space, so that no agent has this name

Concurrency = Annotated[
    int | None,
    typer.Option("-c", "--concurrency", metavar="N", min=1, help="Steps at a time; default: the agent's own."),
]

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator worker writer
  orchestrator worker writer editor -c 8 --pool threads
  orchestrator worker --agents my_agents.py

\b
The first Ctrl-C (or SIGTERM) lets running steps finish, the second does not.
A worker waits for a server that is away; one that crashes is started again.
"""
)
def worker(
    names: Annotated[list[str] | None, typer.Argument(metavar="[AGENT]...", help="Default: all of them.")] = None,
    agents: options.Agents = None,
    concurrency: Concurrency = None,
    pool: Annotated[
        str, typer.Option(metavar="POOL", help="prefork: processes. threads: for agents that mostly wait.")
    ] = "prefork",
    log_level: options.LogLevel = "info",
) -> None:
    """Serve agents until told to stop.

    One Celery worker process is started for each agent. The same agent may be served from several machines.
    """
    options.log_to_stderr(log_level)
    options.check_word("--pool", pool, POOLS)
    settings = options.load_settings(agents)
    registry = load_agents(settings.agents)
    wanted = list(dict.fromkeys(names or registry.names))
    _check_names(registry, wanted)
    require_strong_server(settings, may_be_away=True)
    process = agent_process(settings, registry, log_level=log_level, concurrency=concurrency, pool=cast(Pool, pool))
    Supervisor(process).run(wanted)


@commands.command(
    epilog="""\b
Examples:
  orchestrator up
  orchestrator up --agents my_agents.py --no-flower
"""
)
def up(
    agents: options.Agents = None,
    concurrency: Concurrency = None,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Do not start Flower.")] = False,
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="Flower's port; 0: any free one.")] = 5555,
    log_level: options.LogLevel = "warning",
    as_json: options.AsJson = False,
) -> None:
    """Start the server, a worker for every agent, and Flower.

    Everything runs until Ctrl-C, which lets running steps finish for ten seconds.
    """
    options.log_to_stderr(log_level)
    options.treat_sigterm_as_ctrl_c()
    settings = options.load_settings(agents)
    registry = load_agents(settings.agents)
    require_strong_server(settings)
    flower = None if no_flower else FlowerServer(settings, port)
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


def agent_process(
    settings: Settings,
    registry: AgentRegistry,
    *,
    log_level: str,
    concurrency: int | None = None,
    pool: Pool = "prefork",
) -> Callable[[str], int]:
    """What a forked child does to serve the agent of a name."""

    def process(name: str) -> int:
        slots = concurrency or registry.get(name).concurrency
        return serve(make_app(settings), name, concurrency=slots, pool=pool, log_level=log_level)

    return process


def _check_names(registry: AgentRegistry, names: list[str]) -> None:
    mistakes = []
    for name in names:
        try:
            registry.get(name)
        except UnknownAgent as error:
            mistakes.append(error.message)
    if mistakes:
        raise UnknownAgent("\n".join(mistakes))


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


def _agent_row(agent: dict[str, Any]) -> tuple[Any, ...]:
    waiting = ", ".join(f"{count} {priority}" for priority, count in agent["queue"].items() if count) or "0"
    counts = str(agent["running"]), str(len(agent["workers"]))
    return agent["name"], look(agent["presence"]), agent["activity"], *counts, waiting, ", ".join(agent["capabilities"])
