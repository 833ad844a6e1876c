"""Commands for agents that are no Python code: a person at a terminal, a script. They register, receive and close."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.agents.receiver import Receiver
from orchestrator.cli import options
from orchestrator.cli.messages import MessageId, print_messages
from orchestrator.cli.output import print_json, print_json_line, say
from orchestrator.cli.text import clock, one_line, visible
from orchestrator.client import Client
from orchestrator.documents import message_document
from orchestrator.messages import content_of
from orchestrator.records import MessageRecord, StepError
from orchestrator.states import MessageState
from orchestrator.store.connection import guard
from orchestrator.store.directory import boxes_of

TERMINAL = "terminal"  # who holds what the commands claim, so that `ack` closes what `inbox` printed
LOOK_S = 0.5

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator register ada --capability reviewing
  orchestrator inbox ada --follow
"""
)
def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a-z, 0-9, - and _, a letter first.")],
    capability: Annotated[list[str] | None, typer.Option(metavar="C", help="What it can do. Repeatable.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make an agent known that has no Python code, so that others can send to it."""
    with Client(options.load_settings()) as client:
        with guard(client.url):
            client.office.register(name, capability or ())
        if as_json:
            print_json(next(agent for agent in client.agents() if agent["name"] == name))
        else:
            say(f"{name} is registered; `orchestrator inbox {name} --follow` receives")


@commands.command()
def unregister(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The agent.")], as_json: options.AsJson = False
) -> None:
    """Forget an agent.

    What waits in its inbox stays.
    """
    with Client(options.load_settings()) as client, guard(client.url):
        known = client.office.unregister(name)
        if not known:
            raise client.office.unknown(name)
    print_json({"unregistered": name}) if as_json else say(f"{name} is forgotten")


@commands.command(
    epilog="""\b
Examples:
  orchestrator inbox ada                       # what waits now
  orchestrator inbox ada --follow --ack        # read as it comes
  orchestrator inbox ada --follow --json | while read -r message; do
      id=$(printf %s "$message" | jq -r .message_id)
      ./handle "$message" && orchestrator ack "$id" || orchestrator nack "$id"
  done

\b
What is printed is claimed: acknowledge it with `orchestrator ack`, or it comes
back when its lease is over. --follow keeps the leases while it runs and gives
back what is not closed when it ends.
"""
)
def inbox(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Whose messages.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    peek: Annotated[bool, typer.Option("--peek", help="Only look: claim nothing.")] = False,
    ack: Annotated[bool, typer.Option("--ack", help="Acknowledge what is printed.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
    lease: Annotated[
        float | None, typer.Option(metavar="S", min=0.1, help="Seconds to acknowledge them; default: 60.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Receive an agent's messages, the most urgent first.

    With --json a list, and with --follow one object a line.
    """
    settings = options.load_settings()
    options.treat_sigterm_as_ctrl_c()
    with Client(settings) as client, guard(client.url):
        office = client.office
        if agent not in office.directory.names() and not office.inbox.peek(boxes_of(agent), 1):
            raise office.unknown(agent)
        if peek:
            records = office.inbox.peek(boxes_of(agent), limit)
            _print_all(records, as_json)
            return
        seconds = lease or settings.inbox_lease_s
        receiver = Receiver(office, agent, boxes_of(agent), name=TERMINAL, lease_s=seconds)
        if follow:
            _follow(client, receiver, ack, as_json)
        else:
            taken = [record for _ in range(limit) if (record := _take(client, receiver))]
            _print_all(taken, as_json)
            for record in taken if ack else ():
                _close(client, record, "acknowledged")


@commands.command("ack")
def acknowledge(message_id: MessageId, as_json: options.AsJson = False) -> None:
    """Acknowledge a message that `inbox` has printed."""
    with Client(options.load_settings()) as client, guard(client.url):
        record = client.message(message_id)
        if not _acknowledged_here(record):
            _close(client, record, "acknowledged")
        print_json(message_document(client.message(message_id))) if as_json else say(f"{message_id} acknowledged")


@commands.command()
def nack(
    message_id: MessageId,
    delay: Annotated[float, typer.Option(metavar="S", min=0, help="Seconds until it comes again.")] = 0.0,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with the attempt.")] = "given back",
    as_json: options.AsJson = False,
) -> None:
    """Give back a message that `inbox` has printed.

    The attempt counts as failed; after the last one the message is dead.
    """
    with Client(options.load_settings()) as client, guard(client.url):
        record = client.message(message_id)
        error = StepError("GivenBack", reason, message_id, len(record.attempts))
        failed = sum(attempt.error is not None for attempt in record.attempts)
        more = failed < record.message.delivery_options.max_retries
        _close(client, record, "pending" if more else "dead", delay_ms=round(delay * 1000), error=error)
        record = client.message(message_id)
        print_json(message_document(record)) if as_json else say(f"{message_id} {record.state}")


def _follow(client: Client, receiver: Receiver, ack: bool, as_json: bool) -> None:
    receiver.open()
    try:
        while True:
            record = _take(client, receiver, wait_s=LOOK_S)
            if record is None:
                continue
            print_json_line(message_document(record)) if as_json else print(_line(record), flush=True)
            if ack:
                _close(client, record, "acknowledged")
    finally:
        receiver.close()


def _take(client: Client, receiver: Receiver, wait_s: float = 0.0) -> MessageRecord | None:
    delivery = receiver.next(wait_s) if wait_s else receiver.claim()
    return client.message(delivery.message.message_id) if delivery else None


def _close(client: Client, record: MessageRecord, outcome: str, **parts: object) -> None:
    message = record.message
    posted = client.office.inbox.finish(
        message.message_id,
        outcome,
        receiver=TERMINAL,
        box=record.box,
        priority=message.priority,
        **parts,  # type: ignore[arg-type]
    )
    client.office.carry(posted)


def _acknowledged_here(record: MessageRecord) -> bool:
    """Whether the commands have acknowledged it already: saying so twice is no mistake."""
    done = record.state is MessageState.ACKNOWLEDGED
    return done and bool(record.attempts) and record.attempts[-1].worker == TERMINAL


def _print_all(records: list[MessageRecord], as_json: bool) -> None:
    if as_json:
        print_json([message_document(record) for record in records])
    elif records:
        print_messages(records)
    else:
        say("no message waits")


def _line(record: MessageRecord) -> str:
    message = record.message
    what = content_of(message.body)
    text = visible(what) if isinstance(what, str) else one_line(what, limit=10_000)
    head = f"{clock(message.created_at)} {message.message_id} {message.from_agent} {message.message_type}"
    return f"{head} {message.priority}: {text}"
