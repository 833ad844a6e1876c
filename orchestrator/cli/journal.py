"""The command that carries the journal elsewhere. `events` (runs.py) prints it."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from typing import Annotated

import typer

from orchestrator.cli import options
from orchestrator.cli.output import print_json, say
from orchestrator.client import Client
from orchestrator.sinks.jsonl import JsonLinesSink
from orchestrator.sinks.pump import Pump
from orchestrator.sinks.sink import Sink, SinkFailed

KINDS = ("file", "memory")

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator sink file journal.jsonl
  orchestrator sink file journal.jsonl --once --json
  MEMORY_FILE_PATH=$HOME/memory.jsonl orchestrator sink memory
  orchestrator sink memory -- node my-memory.js

\b
The default memory is npx -y @modelcontextprotocol/server-memory.
"""
)
def sink(
    kind: Annotated[str, typer.Argument(metavar="[file|memory]", help="Where to.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH | -- COMMAND ARG...]", help="The file; the MCP server.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Carry what there is, say how much, and end.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Carry the journal to a file, or to the memory of a model.

    Goes on until Ctrl-C, and the next time where it stopped: nothing is left out, and the newest may come twice.
    """
    options.check_word("[file|memory]", kind, KINDS)
    options.treat_sigterm_as_ctrl_c()
    with Client(options.load_settings()) as client:
        target = _open(kind, words or [])
        try:
            pump = Pump(client, target, warn=say)
            if not once:
                say(f"the journal goes to {target.name}; Ctrl-C ends it")
                pump.run()
                return
            done = pump.run_once()
        finally:
            target.close()
    if as_json:
        print_json({"sink": target.name, **asdict(done)})
    else:
        print(f"{done.entries} {'entry' if done.entries == 1 else 'entries'} to {target.name}")


def _open(kind: str, words: list[str]) -> Sink:
    if kind == "file":
        if len(words) != 1:
            raise typer.BadParameter("name one file", param_hint="PATH")
        return JsonLinesSink(words[0])
    if find_spec("mcp") is None:
        raise SinkFailed("mcp is not installed: pip install 'agent-orchestrator[mcp]'")
    # Here, because the library is an extra, and slow to load.
    from orchestrator.sinks.memory import DEFAULT_COMMAND, MemorySink

    return MemorySink(words or DEFAULT_COMMAND)
