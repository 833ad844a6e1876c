"""Commands that send messages and look at them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from orchestrator.agents.post import Receipt
from orchestrator.cli import options
from orchestrator.cli.output import console, look, print_json, say, table
from orchestrator.cli.text import clock, day_and_clock, one_line, visible
from orchestrator.client import Client
from orchestrator.documents import message_document
from orchestrator.errors import MessageInvalid, WaitTimeout
from orchestrator.messages import DeliveryOptions, MessagePriority, MessageType, content_of
from orchestrator.records import MessageRecord
from orchestrator.store.connection import guard

commands = typer.Typer(rich_markup_mode=None)

Type = Annotated[str | None, typer.Option("--type", metavar="T", help="Such as question; default: information_share.")]
Priority = Annotated[str, typer.Option(metavar="P", help=" | ".join(MessagePriority))]
Ttl = Annotated[float | None, typer.Option(metavar="S", help="Seconds; not begun by then, it expires.")]
SPEAKER = "Who says it; default: whose key this is, or operator."
From = Annotated[str | None, typer.Option("--from", metavar="AGENT", help=SPEAKER)]
MessageId = Annotated[str, typer.Argument(metavar="MESSAGE", help="The message's id.")]


@commands.command(
    epilog="""\b
Examples:
  orchestrator send writer "Sprint planning needed" pm-agent --priority high
  orchestrator send capability:reviewing "Please look at #12" --type question
  orchestrator send writer "Good morning" --at 2026-05-01T09:00:00+02:00
"""
)
def send(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Who gets it; or capability:NAME.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    sender: Annotated[str | None, typer.Argument(metavar="[FROM]", help=SPEAKER)] = None,
    type: Type = None,
    priority: Priority = "medium",
    ttl: Ttl = None,
    thread: Annotated[str | None, typer.Option(metavar="ID", help="The conversation it belongs to.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="K", help="The same key within a day gives the same message.")
    ] = None,
    delay: Annotated[float | None, typer.Option(metavar="S", min=0, help="Deliver it after so many seconds.")] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Deliver it not before; RFC 3339.")] = None,
    max_retries: Annotated[int, typer.Option(metavar="N", help="Attempts after the first that failed.")] = 2,
    json_body: Annotated[bool, typer.Option("--json-body", help="TEXT is JSON: the whole body.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Send a message to an agent.

    It is stored before this returns, and waits if the agent is offline.
    """
    with Client(options.load_settings()) as client:
        receipt = client.send(
            agent, options.read_json("body", text) if json_body else text, sender=sender, priority=priority,
            thread_id=thread, message_type=type or MessageType.INFORMATION_SHARE,
            idempotency_key=idempotency_key, delay_s=delay, at_ms=_at_ms(at),
            delivery_options=DeliveryOptions(max_retries=max_retries, ttl_seconds=ttl),
        )  # fmt: skip
        _print_receipt(client, receipt, as_json)


@commands.command(
    epilog="""\b
Example:
  orchestrator ask expert "What is the best approach for X?" --timeout 60
"""
)
def ask(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Who is asked; or capability:NAME.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    timeout: Annotated[float, typer.Option(metavar="S", min=0.001, help="Seconds to wait for the answer.")] = 30.0,
    sender: From = None,
    priority: Priority = "medium",
    on_offline: Annotated[
        str, typer.Option(metavar="WORD", help="wait, or fail at once where nobody serves the agent.")
    ] = "wait",
    as_json: options.AsJson = False,
) -> None:
    """Send a question, wait for the answer, and print it.

    Exit code 3 if none comes in time; one that comes later is kept and marked late.
    """
    with Client(options.load_settings()) as client, guard(client.url):
        answer = client.office.ask(
            agent, text, sender=sender or client.speaker, timeout_s=timeout, priority=priority, on_offline=on_offline
        )
        if as_json:
            print_json(message_document(client.message(answer.message_id)))
        else:
            print(_plain(answer.body))


@commands.command(
    epilog="""\b
Example:
  orchestrator reply 01m80s0mpgj248try9 "I recommend approach Y"
"""
)
def reply(
    message_id: MessageId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    sender: Annotated[
        str | None, typer.Option("--from", metavar="AGENT", help="Who answers; default: who got the message.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Answer a message."""
    with Client(options.load_settings()) as client:
        with guard(client.url):
            receipt = client.office.reply(message_id, text, sender=sender)
        _print_receipt(client, receipt, as_json)


@commands.command(
    epilog="""\b
Examples:
  orchestrator broadcast "System maintenance in 10 minutes" --priority urgent
  orchestrator broadcast "Freeze" --to writer,editor --wait-acks 1.0 --timeout 30
"""
)
def broadcast(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    to: Annotated[str | None, typer.Option(metavar="A,B", help="These agents; default: all registered ones.")] = None,
    capability: Annotated[str | None, typer.Option(metavar="C", help="Only agents that can do this.")] = None,
    sender: From = None,
    type: Type = None,
    priority: Priority = "medium",
    ttl: Ttl = None,
    wait_acks: Annotated[
        float | None, typer.Option(metavar="SHARE", min=0, max=1, help="Wait until this share has acknowledged.")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="S", min=0, help="Seconds to wait for them.")] = 30.0,
    as_json: options.AsJson = False,
) -> None:
    """Send a message to many agents: one delivery each, all stored or none."""
    names = [name.strip() for name in to.split(",") if name.strip()] if to is not None else None
    with Client(options.load_settings()) as client:
        receipts = client.broadcast(
            text, sender=sender, to=names, capability=capability, message_type=type or MessageType.BROADCAST,
            priority=priority, delivery_options=DeliveryOptions(ttl_seconds=ttl),
        )  # fmt: skip
        late = None
        if wait_acks is not None:
            try:
                with guard(client.url):
                    receipts.wait_acks(wait_acks, timeout_s=timeout)
            except WaitTimeout as error:
                late = error
        _print_matrix(client, receipts, as_json)
        if late:
            raise late


@commands.command("message")
def show_message(message_id: MessageId, as_json: options.AsJson = False) -> None:
    """Show one message: its state, its attempts, its body."""
    with Client(options.load_settings()) as client:
        record = client.message(message_id)
    if as_json:
        print_json(message_document(record))
    else:
        print_message(record)


@commands.command()
def thread(
    thread_id: Annotated[str, typer.Argument(metavar="ID", help="The thread's id.")], as_json: options.AsJson = False
) -> None:
    """Show the messages of a thread, oldest first."""
    with Client(options.load_settings()) as client, guard(client.url):
        records = client.office.inbox.thread(thread_id)
    if as_json:
        print_json([message_document(record) for record in records])
    elif records:
        print_messages(records)
    else:
        say(f"no message in thread {thread_id}")


def print_messages(records: list[MessageRecord]) -> None:
    """A table, one row a message."""
    columns = ("message", "from", "to", "type", "priority", "status", "sent", "what")
    rows = [
        (
            r.message.message_id, r.message.from_agent, r.message.to_agent, str(r.message.message_type),
            r.message.priority.value, look(r.state), day_and_clock(r.message.created_at),
            r.error.message if r.error else _plain(r.message.body),
        )
        for r in records
    ]  # fmt: skip
    console().print(table(columns, rows, flexible="what"))


def print_message(record: MessageRecord) -> None:
    """All of one message, for people."""
    message = record.message
    print(f"{message.message_id}  {record.state}  {message.from_agent} -> {message.to_agent}")
    print(f"{message.message_type}, {message.priority} priority, sent {day_and_clock(message.created_at)}")
    for number, attempt in enumerate(record.attempts, start=1):
        error = f": {visible(attempt.error.type)}: {visible(attempt.error.message)}" if attempt.error else ""
        print(f"attempt {number} at {clock(attempt.started_at)} by {attempt.worker}{error}")
    shown = {"reply": record.reply, "reason": record.reason, "replayed as": record.replayed_as,
             "duplicates dropped:": record.duplicates}  # fmt: skip
    for name, value in shown.items():
        if value:
            print(f"{name} {value}")
    print(_plain(message.body))


def _print_receipt(client: Client, receipt: Receipt, as_json: bool) -> None:
    if as_json:
        print_json(message_document(client.message(receipt.message_id)) | {"recipient_state": receipt.recipient_state})
    else:
        print(receipt.message_id)
        if receipt.recipient_state == "offline":
            say(f"{receipt.message.to_agent} is offline; the message waits")


def _print_matrix(client: Client, receipts: Mapping[str, Receipt], as_json: bool) -> None:
    with guard(client.url):
        states = {name: receipt.status().value for name, receipt in receipts.items()}
    rows = [
        {"agent": name, "message_id": receipt.message_id, "status": states[name], "recipient": receipt.recipient_state}
        for name, receipt in receipts.items()
    ]
    if as_json:
        print_json(rows)
    elif rows:
        cells = [(row["agent"], row["message_id"], look(row["status"]), row["recipient"]) for row in rows]
        console().print(table(("agent", "message", "status", "was"), cells))
    else:
        say("nobody to send it to")


def _plain(body: Any) -> str:
    content = content_of(body)
    return visible(content) if isinstance(content, str) else one_line(content, limit=10_000)


def _at_ms(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return round(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        message = f"at: {text!r} is no time; write 2026-05-01T09:00:00Z"
        raise MessageInvalid(message, field="at") from None
