"""Following a run: a table that moves on a terminal, plain lines anywhere else. Both go to standard error."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator import events
from orchestrator.cli.output import console, look, say
from orchestrator.cli.progress import Progress, Row
from orchestrator.cli.sentences import Sentences
from orchestrator.cli.text import clock, duration, one_line, visible
from orchestrator.records import Event, RunRecord, StepRecord
from orchestrator.states import StepState
from orchestrator.workflow.plan import Plan

FRAMES_PER_S = 5
LINES_AROUND = 5  # lines of the terminal that are not rows: header, column names, "more", prompt
PROGRESS_EVERY_MS = 1000  # a step's progress is worth one plain line in so long
BUSY = (StepState.RUNNING, StepState.WAITING, StepState.FAILED)


class View(Protocol):
    """Something that shows a run while it goes on."""

    def __enter__(self) -> View: ...

    def __exit__(self, *_: object) -> None: ...

    def take(self, event: Event) -> None: ...


def view_for(plan: Plan, run_id: str, kept: Iterable[StepRecord] = ()) -> View:
    """The table where standard error is a terminal that can draw one, lines otherwise.

    Args:
        kept: records of the run's steps, for those that it has taken over from an earlier run.
    """
    return TableView(plan, run_id, console(stderr=True), kept) if draws_table() else LineView(plan, run_id)


def draws_table() -> bool:
    """Whether standard error is a terminal that can draw again over what it has drawn."""
    screen = console(stderr=True)
    return screen.is_terminal and not screen.is_dumb_terminal


class LogRelay:
    """Lets the workers' log pass above the table, which their writing to the terminal would tear.

    Made before the workers are forked; they write to `writer`.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()

    def start(self) -> None:
        """In the parent, after the fork."""
        os.close(self.writer)
        threading.Thread(target=self._pass_on, name="log", daemon=True).start()

    def _pass_on(self) -> None:
        with os.fdopen(self._reader, errors="replace") as lines:
            for line in lines:
                console(stderr=True).print(Text(visible(line.rstrip("\n"))), soft_wrap=True)


class LineView:
    """`12:00:01 step outline started (planner.plan)`."""

    def __init__(self, plan: Plan, run_id: str) -> None:
        self._sentences = Sentences(plan)
        self._run_id = run_id
        self._told: dict[str | None, int] = {}

    def __enter__(self) -> LineView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def take(self, event: Event) -> None:
        if event.name == events.STEP_PROGRESS:
            if event.at - self._told.get(event.step, 0) < PROGRESS_EVERY_MS:
                return
            self._told[event.step] = event.at
        for sentence in self._sentences.tell(event):
            say(f"{clock(event.at)} {sentence}")
        signal = event.name == events.STEP_WAITING and event.data  # it says what for: not a time, but a signal
        if signal:
            say(f"         `orchestrator approve {self._run_id} {event.step}` lets it go on, `reject` fails it")


class TableView:
    """A table of the steps that is drawn anew a few times a second, and stays when the run is over."""

    def __init__(self, plan: Plan, run_id: str, screen: Console, kept: Iterable[StepRecord] = ()) -> None:
        self._title = f"{plan.name}  {run_id}"
        self._progress = Progress(plan, kept)
        self._screen = screen
        self._live = Live(console=screen, get_renderable=self.draw, refresh_per_second=FRAMES_PER_S)

    def __enter__(self) -> TableView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def take(self, event: Event) -> None:
        self._progress.take(event)

    def draw(self) -> Group:
        now = int(time.time() * 1000)
        rows = list(self._progress.rows.values())
        shown = choose(rows, self._screen.height - LINES_AROUND)
        elapsed = duration(now - (self._progress.started_at or now))
        remark = f"  {self._progress.remark}" if self._progress.remark else ""
        title = f"{self._title}  {elapsed}  {self._progress.done}/{len(rows)} steps{remark}"
        header = Text(title, style="bold", no_wrap=True)
        parts: list[Text | Table] = [header, _grid(shown, now, self._screen.width)]
        if len(shown) < len(rows):
            parts.append(Text(f"... {len(rows) - len(shown)} more", style="dim"))
        return Group(*parts)


def choose(rows: list[Row], room: int) -> list[Row]:
    """The rows to show where not all have room: what runs or failed, then what ended last, then what comes next.

    They keep the order of the plan.
    """
    room = max(room, 1)
    if len(rows) <= room:
        return rows
    order = {id(row): place for place, row in enumerate(rows)}

    def urgency(row: Row) -> tuple[int, int]:
        if row.state in BUSY:
            return 0, order[id(row)]
        return (1, -row.finished_at) if row.finished_at else (2, order[id(row)])

    chosen = sorted(rows, key=urgency)[:room]
    return sorted(chosen, key=lambda row: order[id(row)])


def summary(record: RunRecord) -> list[str]:
    """The last lines about a run: how it ended, and why."""
    took = duration((record.finished_at or 0) - record.created_at) if record.finished_at else ""
    lines = [f"{record.workflow} {record.state.value}" + (f" in {took}" if took else "") + f" (run {record.id})"]
    if record.error:
        where = f"step {record.error.step}: " if record.error.step else ""
        lines.append(one_line(f"{where}{record.error.type}: {record.error.message}", limit=2000))
    return lines


def _grid(rows: list[Row], now: int, width: int) -> Table:
    """Columns with fixed shares of the width, so that the table does not jump when a note changes."""
    grid = Table(box=None, pad_edge=False, show_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    names = min(max((len(row.step.id) for row in rows), default=4), max(10, width // 4))
    agents = min(max((len(row.name) for row in rows), default=5), max(10, width // 6))
    for title, columns in (("step", names), ("agent", agents), ("status", 11), ("try", 3), ("time", 7)):
        grid.add_column(title, width=columns, no_wrap=True, overflow="ellipsis")
    grid.add_column("", no_wrap=True, overflow="ellipsis", width=max(4, width - names - agents - 11 - 3 - 7 - 6))
    for row in rows:
        spent = duration((row.finished_at or now) - row.started_at) if row.started_at else ""
        attempt = str(row.attempt) if row.attempt > 1 else ""
        cells = [Text(row.step.id), Text(row.name), look(row.state, stderr=True), Text(attempt), Text(spent)]
        grid.add_row(*cells, Text(one_line(row.remark())))
    return grid
