"""Commands for work that changes hands."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from orchestrator.cli import options
from orchestrator.cli.inbox import TERMINAL
from orchestrator.cli.output import console, look, print_json, say, table
from orchestrator.cli.text import clock, day_and_clock, one_line
from orchestrator.client import Client
from orchestrator.documents import task_document
from orchestrator.errors import HandoffRefused, MessageInvalid, MessageNotFound, MessageNotHeld
from orchestrator.records import MessageRecord, StepError
from orchestrator.states import HandoffState
from orchestrator.store.connection import guard

FAILED = 1

commands = typer.Typer(rich_markup_mode=None)
TaskId = Annotated[str, typer.Argument(metavar="TASK", help="The task's id, as `handoff` printed it.")]


@commands.command(
    epilog="""\b
Examples:
  orchestrator handoff writer --task draft --with '{"topic": "tea"}' --wait
  orchestrator handoff ada --task review --from writer --accept-within 3600
"""
)
def handoff(
    to: Annotated[str, typer.Argument(metavar="TO", help="The agent; or capability:NAME.")],
    task: Annotated[str | None, typer.Option(metavar="T", help="The agent's task; default: its only one.")] = None,
    values: Annotated[str, typer.Option("--with", metavar="JSON", help="The task's parameters, an object.")] = "{}",
    sender: Annotated[
        str | None, typer.Option("--from", metavar="A", help="Whose work it is now; default: whose key this is.")
    ] = None,
    priority: Annotated[str, typer.Option(metavar="P", help="low | medium | high | urgent | emergency")] = "medium",
    accept_within: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds until it goes back when nobody accepts.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end and print the result.")] = False,
    timeout: Annotated[float | None, typer.Option(metavar="S", min=0, help="Seconds to wait; then exit 3.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Hand a task to another agent.

    It carries the working directory, the git branch and the time; a worker that has the task accepts by itself.
    """
    with Client(options.load_settings()) as client:
        receipt = client.handoff(
            to, task, _object("with", values), sender=sender, priority=priority, offer_s=accept_within
        )
        if not wait:
            _print(client.message(receipt.message_id), as_json, short=True)
            return
        with guard(client.url):
            record = client.office.wait_for_task(receipt.message_id, timeout)
        if as_json or record.handoff is not HandoffState.COMPLETED:
            _print(record, as_json)
        else:
            print(record.result if isinstance(record.result, str) else one_line(record.result, limit=100_000))
    if record.handoff is not HandoffState.COMPLETED:
        raise typer.Exit(FAILED)


@commands.command()
def handoffs(
    status: Annotated[str | None, typer.Option(metavar="S", help=f"Only those: {', '.join(HandoffState)}.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List handoffs, the newest first."""
    options.check_word("--status", status, HandoffState)
    with Client(options.load_settings()) as client, guard(client.url):
        found = [record for record in client.office.inbox.handoffs() if status in (None, record.handoff)]
    if as_json:
        print_json([task_document(record) for record in found])
    elif found:
        columns = ("task", "what", "from", "to", "owner", "status", "offered")
        console().print(table(columns, [_row(record) for record in found], flexible="what"))
    else:
        say("no handoff")


@commands.command("task")
def show_task(task_id: TaskId, as_json: options.AsJson = False) -> None:
    """Show one handoff: who has it, who had it, what came of it."""
    with Client(options.load_settings()) as client:
        _print(_read(client, task_id), as_json)


@commands.command()
def accept(task_id: TaskId, as_json: options.AsJson = False) -> None:
    """Accept a handoff for the agent it is offered to; `complete` ends it."""
    with Client(options.load_settings()) as client, guard(client.url):
        record = _read(client, task_id)
        taken = client.office.inbox.claim(
            [record.box], receiver=TERMINAL, lease_ms=0, message_id=task_id, handoff_state="accepted"
        )
        if taken is None:
            state = _read(client, task_id).handoff
            raise HandoffRefused(f"task {task_id} is {state}; only an offered one can be accepted", status=state)
        _print(_read(client, task_id), as_json)


@commands.command()
def decline(
    task_id: TaskId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; the sender sees it.")] = "declined",
    as_json: options.AsJson = False,
) -> None:
    """Decline a handoff: it goes back to its sender."""
    _end(task_id, "declined", as_json, error=StepError("Declined", reason))


@commands.command()
def complete(
    task_id: TaskId,
    result: Annotated[str, typer.Option(metavar="JSON", help="What came of it.")] = "null",
    failed: Annotated[str | None, typer.Option(metavar="REASON", help="It failed; why.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """End a handoff that was accepted at a terminal: with a result, or as failed."""
    if failed is not None:
        _end(task_id, "failed", as_json, error=StepError("Failed", failed))
    else:
        _end(task_id, "acknowledged", as_json, result=json.dumps(options.read_json("result", result)))


def _end(task_id: str, outcome: str, as_json: bool, **parts: Any) -> None:
    with Client(options.load_settings()) as client, guard(client.url):
        record = _read(client, task_id)
        try:
            client.office.inbox.finish(task_id, outcome, receiver=TERMINAL, box=record.box, **parts)
        except MessageNotHeld:
            state = record.handoff
            needed = "offered" if outcome == "declined" else "accepted at a terminal"
            raise HandoffRefused(f"task {task_id} is {state}; it must be {needed}", status=state) from None
        _print(_read(client, task_id), as_json)


def _read(client: Client, task_id: str) -> MessageRecord:
    record = client.message(task_id)
    if record.handoff is None:
        raise MessageNotFound(f"message {task_id} is no handoff", message_id=task_id)
    return record


def _row(record: MessageRecord) -> tuple[Any, ...]:
    message = record.message
    state = look(record.handoff or "")
    owners = message.from_agent, message.to_agent, record.owner or ""
    return message.message_id, record.task or "", *owners, state, day_and_clock(message.created_at)


def _print(record: MessageRecord, as_json: bool, *, short: bool = False) -> None:
    if as_json:
        print_json(task_document(record))
    elif short:
        print(record.message.message_id)
    else:
        message = record.message
        print(f"{message.message_id}  {record.task}  {record.handoff}  owner {record.owner}")
        for link in record.custody:
            reason = f" ({link.reason})" if link.reason else ""
            print(f"{clock(link.at)} {link.state} {link.owner}{reason}")
        if record.error:
            print(f"error {record.error.type}: {record.error.message}")
        if record.result is not None:
            print(one_line(record.result, limit=10_000))


def _object(what: str, text: str) -> dict[str, Any]:
    value = options.read_json(what, text)
    if not isinstance(value, dict):
        raise MessageInvalid(f'{what}: write a JSON object, such as {{"topic": "tea"}}', field=what)
    return value
