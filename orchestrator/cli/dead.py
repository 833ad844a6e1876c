"""`orchestrator dead`: dead letters, and what lay on a queue and nobody could read or run."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import typer

from orchestrator.cli import options
from orchestrator.cli.messages import print_message, print_messages
from orchestrator.cli.output import console, look, print_json, say, table
from orchestrator.cli.text import day_and_clock, visible
from orchestrator.client import Client
from orchestrator.documents import message_document
from orchestrator.errors import MessageInvalid
from orchestrator.records import MessageRecord, rfc3339
from orchestrator.states import MessageState
from orchestrator.store.quarantine import Quarantined

SHOWN_BYTES = 2000  # of a message in quarantine, for people; `--json` has all of them

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator dead
  orchestrator dead show 01m80s0mpgj248try9
  orchestrator dead replay 01m80s0mpgj248try9
  orchestrator dead purge --all
"""
)
def dead(
    what: Annotated[str, typer.Argument(metavar="[list|show|replay|purge]", help="Default: list.")] = "list",
    message_ids: Annotated[list[str] | None, typer.Argument(metavar="[MESSAGE]...", help="Which ones.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Replay or purge all of them.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Dead letters: messages whose handler failed for good, with their history.

    Messages on a queue that nobody could read or run are here too, as quarantined, with their bytes. replay sends a
    dead letter again as a new message that names the old one; purge deletes for good.
    """
    options.check_word("[list|show|replay|purge]", what, ("list", "show", "replay", "purge"))
    with Client(options.load_settings()) as client, client.asking():
        letters = client.office.inbox.dead_letters()
        quarantined = {entry.id: entry for quarantine in client.quarantines() for entry in quarantine.all()}
        if what == "list":
            _list(letters, list(quarantined.values()), as_json)
            return
        ids = message_ids or []
        if everything:
            ids = [record.message.message_id for record in letters] + ([] if what == "replay" else list(quarantined))
        if not ids and not everything:
            raise typer.BadParameter("name a message" + ("" if what == "show" else ", or --all"), param_hint="MESSAGE")
        aside = [quarantined[name] for name in ids if name in quarantined]
        records = [client.office.inbox.read(name) for name in ids if name not in quarantined]
        if what == "show":
            _show(records, aside, as_json)
        elif what == "replay":
            _replay(client, records, aside, as_json)
        else:
            _purge(client, records, aside, as_json)


def quarantine_document(entry: Quarantined, *, whole: bool) -> dict[str, Any]:
    """A message in quarantine; its bytes in base64 where it is asked for as a whole."""
    document: dict[str, Any] = {
        "message_id": entry.id, "status": "quarantined", "queue": entry.queue, "reason": entry.reason,
        "at": rfc3339(entry.at), "bytes": entry.size,
    }  # fmt: skip
    return document | ({"raw": base64.b64encode(entry.raw).decode()} if whole else {})


def _list(letters: list[MessageRecord], quarantined: list[Quarantined], as_json: bool) -> None:
    if as_json:
        aside = [quarantine_document(entry, whole=False) for entry in quarantined]
        print_json([*map(message_document, letters), *aside])
        return
    if letters:
        print_messages(letters)
    if quarantined:
        columns = ("message", "queue", "status", "bytes", "came", "what")
        rows = [
            (e.id, e.queue, look("quarantined"), str(e.size), day_and_clock(e.at), visible(e.reason))
            for e in quarantined
        ]
        console().print(table(columns, rows, flexible="what"))
    if not letters and not quarantined:
        say("no dead letter")


def _show(records: list[MessageRecord], aside: list[Quarantined], as_json: bool) -> None:
    if as_json:
        print_json([*map(message_document, records), *(quarantine_document(entry, whole=True) for entry in aside)])
        return
    for record in records:
        print_message(record)
    for entry in aside:
        print(f"{entry.id}  quarantined  {visible(entry.queue)}, {entry.size} bytes, {day_and_clock(entry.at)}")
        print(f"it {visible(entry.reason)}")
        print(visible(entry.raw[:SHOWN_BYTES].decode("utf-8", "backslashreplace")))


def _replay(client: Client, records: list[MessageRecord], aside: list[Quarantined], as_json: bool) -> None:
    if aside:
        raise MessageInvalid(f"message {aside[0].id} is in quarantine: it {aside[0].reason}; it can only be purged")
    ids = [record.message.message_id for record in records]
    new = {message_id: client.office.replay(message_id).message_id for message_id in ids}
    print_json(new) if as_json else print("\n".join(f"{old} sent again as {fresh}" for old, fresh in new.items()))


def _purge(client: Client, records: list[MessageRecord], aside: list[Quarantined], as_json: bool) -> None:
    alive = [record for record in records if record.state not in (MessageState.DEAD, MessageState.FAILED)]
    if alive:
        raise MessageInvalid(f"message {alive[0].message.message_id} is {alive[0].state}, no dead letter")
    count = client.office.inbox.purge([record.message.message_id for record in records])
    count += sum(quarantine.remove(*(entry.id for entry in aside)) for quarantine in client.quarantines())
    print_json({"purged": count}) if as_json else say(f"{count} purged")
