"""`orchestrator top`: what goes on, on the whole screen, until `q`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from orchestrator.cli import options
from orchestrator.cli.output import can_draw, print_json
from orchestrator.client import Client
from orchestrator.documents import error_document, run_summary
from orchestrator.metrics.pulse import Beat, Pulse
from orchestrator.records import rfc3339
from orchestrator.settings import mask_password
from orchestrator.store.load import AgentLoad

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator top
  orchestrator top --interval 5
  orchestrator top --json | jq .rates

\b
q or Ctrl-C ends it. Rates are what has ended since the look before: attempts
of steps, runs, messages. A run that waits has no attempt at work. Where the
output is no terminal, one picture is printed.
"""
)
def top(
    interval: Annotated[float, typer.Option(metavar="SECONDS", min=0.2, help="Between two looks.")] = 1.0,
    as_json: options.AsJson = False,
) -> None:
    """Watch agents, queues, runs and rates, on the whole screen.

    With --json, one document, after two looks.
    """
    options.treat_sigterm_as_ctrl_c()
    with Client(options.load_settings()) as client:
        pulse, server = Pulse(client), mask_password(client.url)
        beat = pulse.beat()  # a server that is not there at the beginning is an error
        if not as_json and can_draw():
            from orchestrator.cli.fullscreen import FullScreen  # draws with rich, which --json does without

            FullScreen(pulse, beat, server, interval).run()
            return
        time.sleep(interval)  # what ends meanwhile is the rate
        beat = pulse.beat()
    if as_json:
        print_json(_document(beat))
    else:
        from orchestrator.cli.fullscreen import print_once

        print_once(beat, server)


def _document(beat: Beat) -> dict[str, Any]:
    """`{at, rates, agents, runs: {open, failed}, dead_letters}`."""
    rates = beat.rates
    return {
        "at": rfc3339(beat.at),
        "rates": {
            "steps_per_s": rates.steps, "runs_per_s": rates.runs, "messages_per_s": rates.messages,
            "over_s": rates.over_s,
        } if rates else None,
        "agents": [_agent(agent) for agent in beat.agents],
        "runs": {
            "open": [run_summary(run) | {"active": beat.active.get(run.id, 0)} for run in beat.open],
            "failed": [run_summary(run) | {"error": error_document(run.error)} for run in beat.failed],
        },
        "dead_letters": beat.dead_letters,
    }  # fmt: skip


def _agent(agent: AgentLoad) -> dict[str, Any]:
    return {
        "name": agent.name,
        "presence": "online" if agent.workers else "offline",
        "workers": list(agent.workers),
        "running": agent.running,
        "queue": {
            priority: {
                "steps": waiting.steps, "messages": waiting.messages, "handoffs": waiting.handoffs,
                "oldest_waiting_s": waiting.oldest_ms / 1000,
            }
            for priority, waiting in agent.waiting.items()
        },
    }  # fmt: skip
