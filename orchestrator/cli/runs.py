"""Commands that look at runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli import options
from orchestrator.cli.output import can_draw, console, look, print_json, print_json_line, say, table
from orchestrator.cli.reading_on import read_on, say_away
from orchestrator.cli.remarks import about_run, about_step, phase_of, summary
from orchestrator.cli.sentences import Sentences
from orchestrator.cli.text import clock, day_and_clock, one_line, visible
from orchestrator.client import Client
from orchestrator.documents import error_document, event_document, run_summary
from orchestrator.durations import duration
from orchestrator.errors import RunNotFound
from orchestrator.records import Event, JournalEntry, RunRecord, StepRecord
from orchestrator.run_handle import RunHandle
from orchestrator.states import RunState
from orchestrator.store.connection import guard
from orchestrator.store.journal import BEGINNING, Journal

SHORTEST_PREFIX = 4  # characters of an id that may stand for the whole; ids begin with the time
JOURNAL_LIMIT = 100  # entries shown where nothing is said
_BLOCK_MS = 500  # how long one read waits on the server; Ctrl-C waits as long

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Examples:
  orchestrator runs --status failed --limit 5
  orchestrator runs --workflow repo-report --json
"""
)
def runs(
    status: Annotated[
        str | None, typer.Option(metavar="S", help=f"Only runs in this state: {', '.join(RunState)}.")
    ] = None,
    workflow: Annotated[str | None, typer.Option(metavar="W", help="Only runs of the workflow of this name.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 20,
    as_json: options.AsJson = False,
) -> None:
    """List runs, the newest first.

    Finished runs are kept for seven days (ORCHESTRATOR_RETENTION_S).
    """
    options.check_word("--status", status, RunState)
    with Client(options.load_settings()) as client:
        found = client.runs(status=status, workflow=workflow, limit=limit)
    if as_json:
        print_json([run_summary(run) | {"error": error_document(run.error)} for run in found])
    elif found:
        columns = ("run", "workflow", "status", "submitted", "took", "note")
        console().print(table(columns, [_run_row(run) for run in found], flexible="note"))
    else:
        say("no run" if status or workflow else "no run yet; `orchestrator run FILE` submits one")


@commands.command(
    epilog="""\b
Examples:
  orchestrator show 06bz3k
  orchestrator show 06bz3k --json | jq .outputs

\b
The exit code is 0 whatever became of the run. The traceback of an error is in
--json and in the worker's log.
"""
)
def show(run_id: options.RunId, as_json: options.AsJson = False) -> None:
    """Show one run: its steps, its error, its outputs."""
    with Client(options.load_settings()) as client:
        handle = find_run(client, run_id)
        if as_json:
            print_json(handle.document())
            return
        record, steps = handle.record(), handle.steps()
        _print_header(record, _holders(client, record))
    columns = ("step", "agent", "status", "try", "started", "time", "note")
    console().print(table(columns, [_step_row(step) for step in steps], flexible="note"))
    for name, value in (record.outputs or {}).items():
        print(f"output {name}: {visible(value) if isinstance(value, str) else one_line(value, limit=10_000)}")


@commands.command(
    epilog="""\b
Examples:
  orchestrator events 06bz3k
  orchestrator events 06bz3k --follow --json
  orchestrator events --follow
  orchestrator events --limit 1000 --json | jq -r .name | sort | uniq -c
"""
)
def events(
    run_id: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="The run's id, or enough of its beginning; default: the journal."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run ends; the journal: until Ctrl-C.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"So many of the journal, the newest; {JOURNAL_LIMIT}.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Print what happened in a run, in order; without a run, the journal of everything.

    With --json, one object a line: id, at, name, step, attempt, data; of the journal: id, at, name, and the ids.
    """
    if run_id is not None and limit is not None:
        raise typer.BadParameter("only without RUN", param_hint="--limit")
    with Client(options.load_settings()) as client:
        if run_id is None:
            _print_journal(client, limit or JOURNAL_LIMIT, follow, as_json)
            return
        handle = find_run(client, run_id)
        if follow and not as_json and can_draw():
            _draw(client, handle)
            return
        with guard(client.url):
            sentences = Sentences(client.store.read_plan(handle.id))

        def read(after: str) -> Iterator[Event]:
            return handle.events(follow=follow, after=after)

        for event in read_on(client, read, BEGINNING, say_away) if follow else read(BEGINNING):
            if as_json:
                print_json_line(event_document(event))
            else:
                for sentence in sentences.tell(event):
                    print(f"{clock(event.at)} {sentence}", flush=follow)


def find_run(client: Client, text: str) -> RunHandle:
    """The run of this id, or the only one whose id begins so.

    Raises:
        RunNotFound: none, or more than one.
    """
    handle = client.run(text)
    try:
        handle.record()
        return handle
    except RunNotFound:
        with guard(client.url):
            found = client.store.find_runs(text) if len(text) >= SHORTEST_PREFIX else []
        if len(found) == 1:
            return client.run(found[0])
        why = f": {' and '.join(found)} both begin so" if found else "; `orchestrator runs` lists them"
        raise RunNotFound(f"no run {text!r}{why}", run_id=text) from None


def _draw(client: Client, handle: RunHandle) -> None:
    """Follow a run on a terminal, to its end."""
    from orchestrator.cli.following import Follower  # what draws is needed by no other command that looks

    for line in summary(Follower(client, handle, stdout=True).follow()):
        say(line)


def _print_journal(client: Client, limit: int, follow: bool, as_json: bool) -> None:
    journal = Journal(client.store.client, client.store.keys)
    with client.asking():
        newest = journal.tail(limit)
    _print_entries(newest, as_json)

    def read(after: str) -> Iterator[JournalEntry]:
        with guard(client.url):
            yield from (entry for entry in journal.follow(client.blocking, after, _BLOCK_MS) if entry is not None)

    if follow:
        _print_entries(read_on(client, read, newest[-1].id if newest else BEGINNING, say_away), as_json)


def _print_entries(entries: Iterable[JournalEntry], as_json: bool) -> None:
    for entry in entries:
        if as_json:
            print_json_line(entry.to_json())
        else:
            words = " ".join(f"{name}={one_line(text)}" for name, text in entry.data.items())
            print(f"{day_and_clock(entry.at)} {entry.name:<20} {words}".rstrip(), flush=True)


def _holders(client: Client, run: RunRecord) -> list[str]:
    """The runs that have the places this one waits for."""
    if not run.waits_for:
        return []
    with guard(client.url):
        return client.store.read_holders(run.waits_for)


def _print_header(record: RunRecord, holders: list[str]) -> None:
    version = f" {record.version}" if record.version else ""
    phase = f" ({phase_of(record)})" if phase_of(record) else ""
    title = Text.assemble((f"{record.workflow}{version}  ", "bold"), look(record.state), f"{phase}  run {record.id}")
    console().print(title)
    took = f", took {duration(record.finished_at - record.created_at)}" if record.finished_at else ""
    print(f"submitted {day_and_clock(record.created_at)}, {record.priority} priority{took}")
    for sentence in about_run(record, holders):
        print(one_line(sentence, limit=1000))
    for line in summary(record)[1:]:
        console().print(Text(f"error {line}", style="red"), soft_wrap=True)
    print()


def _run_row(run: RunRecord) -> tuple[str | Text, ...]:
    took = duration(run.finished_at - run.created_at) if run.finished_at else ""
    why = f"{run.error.type}: {run.error.message}" if run.error else ""
    note = "; ".join(part for part in (phase_of(run), why, *about_run(run)) if part)
    return run.id, run.workflow, look(run.state), day_and_clock(run.created_at), took, note


def _step_row(step: StepRecord) -> tuple[str | Text, ...]:
    started = clock(step.started_at) if step.started_at else ""
    spent = duration(step.finished_at - step.started_at) if step.started_at and step.finished_at else ""
    return step.id, step.agent or "", look(step.state), str(step.attempts or ""), started, spent, about_step(step)
