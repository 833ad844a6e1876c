"""`orchestrator run`: submit a workflow, serve its agents where nobody does, follow it, say how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.agents.loading import AgentRegistry, load_agents
from orchestrator.cli import options
from orchestrator.cli.compiling import compile_file
from orchestrator.cli.following import Follower
from orchestrator.cli.inputs import read_inputs
from orchestrator.cli.live import LogRelay
from orchestrator.cli.output import can_draw, print_json, say
from orchestrator.cli.remarks import summary
from orchestrator.cli.serving import Serving
from orchestrator.cli.text import one_line, visible
from orchestrator.cli.worker import agent_process
from orchestrator.client import Client
from orchestrator.errors import WaitTimeout
from orchestrator.records import RunRecord
from orchestrator.run_handle import RunHandle
from orchestrator.runtime.launcher import Launcher
from orchestrator.settings import Settings
from orchestrator.states import RunState
from orchestrator.store.load import PRIORITIES
from orchestrator.store.server_settings import require_strong_server

GRACE_S = 2.0  # for attempts that still run when the command ends; one that is cut off runs again elsewhere
FAILED = 1

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator run workflows/hello.yaml -i name=Ada
  orchestrator run report.yaml --inputs inputs.json --agents my_agents.py --json
  orchestrator run nightly.yaml --detach --idempotency-key 2026-05-01

\b
With --log-level info the tracebacks of failing handlers are shown too.

\b
Ctrl-C does not cancel the run. It stops following and stops the workers
started here; the run goes on when its agents are served again
(orchestrator worker), and ends with orchestrator cancel.
"""
)
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The workflow, in YAML.")],
    given: Annotated[
        list[str] | None,
        typer.Option("-i", "--input", metavar="NAME=VALUE", help="One input, read as its declared type. Repeatable."),
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="All inputs as one JSON object; - reads standard input.")
    ] = None,
    agents: options.Agents = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key within a day gives the same run, not a second one.")
    ] = None,
    priority: Annotated[
        str | None, typer.Option(metavar="WORD", help=f"{' | '.join(reversed(PRIORITIES))}; default: the workflow's.")
    ] = None,
    timeout: options.Timeout = None,
    detach: options.Detach = False,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormat = None,
    as_json: options.AsJson = False,
) -> None:
    """Submit a workflow and follow it to its end.

    Workers are started for those of its agents that nobody serves, and stopped at the end.
    """
    options.check_word("--priority", priority, PRIORITIES)
    settings = options.load_settings(agents, log_format)
    registry = load_agents(settings.agents)

    def submit(client: Client) -> RunHandle:
        plan = compile_file(file, settings, registry, client.catalog)
        values = read_inputs(plan, given or [], inputs)
        return client.submit(plan, values, idempotency_key=idempotency_key, priority=priority)

    start(submit, settings, registry, detach=detach, timeout=timeout, log_level=log_level, as_json=as_json)


def start(
    submit: Callable[[Client], RunHandle],
    settings: Settings,
    registry: AgentRegistry,
    *,
    detach: bool,
    timeout: float | None,
    log_level: str,
    as_json: bool,
) -> None:
    """Submit a run; unless detached, serve its agents where nobody does, follow it, and say how it ended."""
    if detach:
        with Client(settings) as client:
            handle = submit(client)
            print_json(handle.document()) if as_json else print(handle.id)
        return
    options.log_to_stderr(log_level, settings.log_format)
    if log_level == "warning":
        # This command tells itself what becomes of each attempt; the traceback is in `show --json`.
        logging.getLogger("orchestrator.agents.executor").setLevel(logging.ERROR)
    options.treat_sigterm_as_ctrl_c()
    require_strong_server(settings)
    process = agent_process(settings, registry, log_level=log_level)
    # The supervisor is forked before the client connects: a fork must not inherit a connection.
    relay = LogRelay() if can_draw(stderr=True) else None
    with Launcher(process, grace_s=GRACE_S, log=relay.writer if relay else None) as workers, Client(settings) as client:
        if relay:
            relay.start()
        handle = submit(client)
        record = Follower(client, handle, Serving(client, workers, registry.names)).follow(timeout)
        if as_json:
            print_json(handle.document())
    _tell_end(record, workers.started, timeout, as_json)


def _tell_end(record: RunRecord, started: list[str], timeout: float | None, as_json: bool) -> None:
    """Say how it ended; raises what leads to the exit code."""
    if not record.state.terminal:
        stopped = f" (its workers were stopped: `orchestrator worker {' '.join(started)}` goes on)" if started else ""
        raise WaitTimeout(
            f"run {record.id} is still {record.state} after {timeout:g} s{stopped};"
            f" `orchestrator cancel {record.id}` ends it"
        )
    for line in summary(record):
        say(line)
    if not as_json:
        for name, value in (record.outputs or {}).items():
            print(f"{name}: {visible(value) if isinstance(value, str) else one_line(value, limit=10_000)}")
    if record.state is not RunState.SUCCEEDED:
        raise typer.Exit(FAILED)
