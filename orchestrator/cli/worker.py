"""`orchestrator worker`, and what a process does that serves an agent. Nothing here needs a client: it would have to be
imported at every start of a worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, cast

import typer

from orchestrator.agents.loading import AgentRegistry, load_agents
from orchestrator.cli import options
from orchestrator.errors import UnknownAgent
from orchestrator.runtime.app import make_app
from orchestrator.runtime.lifecycle import require_key
from orchestrator.runtime.supervisor import Supervisor
from orchestrator.runtime.worker import Pool, serve
from orchestrator.settings import Settings
from orchestrator.store.server_settings import require_strong_server

POOLS = ("prefork", "threads")

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
    concurrency: options.Concurrency = None,
    pool: Annotated[
        str, typer.Option(metavar="POOL", help="prefork: processes. threads: for agents that mostly wait.")
    ] = "prefork",
    log_level: options.LogLevel = "info",
    log_format: options.LogFormat = None,
) -> None:
    """Serve agents until told to stop.

    One Celery worker process is started for each agent. The same agent may be served from several machines.
    """
    settings = options.load_settings(agents, log_format)
    options.log_to_stderr(log_level, settings.log_format)
    options.check_word("--pool", pool, POOLS)
    registry = load_agents(settings.agents)
    wanted = list(dict.fromkeys(names or registry.names))
    _check_names(registry, wanted)
    require_key(settings)
    require_strong_server(settings, may_be_away=True)
    process = agent_process(settings, registry, log_level=log_level, concurrency=concurrency, pool=cast(Pool, pool))
    Supervisor(process).run(wanted)


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
