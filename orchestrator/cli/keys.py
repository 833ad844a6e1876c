"""`orchestrator keys`: the keys that messages are signed with. A key is shown once or written to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.agents.drafts import check_name
from orchestrator.cli import options
from orchestrator.cli.output import print_json, say
from orchestrator.client import Client
from orchestrator.errors import SettingsInvalid
from orchestrator.identity import Key, read_key, write_key
from orchestrator.store.connection import guard

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator keys create --file installation.key    # for workers: ORCHESTRATOR_KEY_FILE
  orchestrator keys issue pm-agent --file pm-agent.key
"""
)
def keys(
    what: Annotated[str, typer.Argument(metavar="create|issue|adopt", help="What to do.")],
    name: Annotated[str | None, typer.Argument(metavar="[AGENT]", help="Whose key to issue.")] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there, for this user only; default: print it.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make the keys that messages are signed with.

    create makes the installation's key, which workers have. issue makes that of one agent, for a program that may only
    speak as this agent. adopt signs what waits unsigned, because it was sent before there was a key. The last two need
    the installation's key in ORCHESTRATOR_KEY_FILE.
    """
    options.check_word("create|issue|adopt", what, ("create", "issue", "adopt"))
    if (what == "issue") != (name is not None):
        raise typer.BadParameter("issue needs the name of an agent, the others take none", param_hint="AGENT")
    if what == "adopt":
        _installation()
        with Client(options.load_settings()) as client, guard(client.url):
            count = client.office.inbox.sign_waiting()
        print_json({"signed": count}) if as_json else say(f"{count} signed")
        return
    key = Key.new() if name is None else _installation().of(check_name("agent", name))
    if file is None:
        print_json({"agent": name, "key": key.line}) if as_json else print(key.line)
        return
    try:
        write_key(file, key)
    except OSError as error:
        raise SettingsInvalid(f"{file} was not written: {error.strerror}") from None
    told = f"{file} is written; ORCHESTRATOR_KEY_FILE={file} uses it"
    print_json({"agent": name, "file": str(file)}) if as_json else say(told)


def _installation() -> Key:
    file = options.load_settings().key_file
    key = read_key(file) if file else None
    if key is None or key.agent is not None:
        raise SettingsInvalid("ORCHESTRATOR_KEY_FILE: name the file with the installation's key; it issues all others")
    return key
