"""The picture of `orchestrator top`: rates, agents, queues and runs, in as many lines as there are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from orchestrator.cli.drawing import Pen
from orchestrator.cli.output import LOOKS
from orchestrator.cli.remarks import phase_of
from orchestrator.cli.text import clock
from orchestrator.durations import duration
from orchestrator.metrics.pulse import Beat, Rates
from orchestrator.records import RunRecord
from orchestrator.states import RunState
from orchestrator.store.load import PRIORITIES, AgentLoad

HISTORY = 40  # beats whose rates are kept for the small curves
STATES = ("running", "waiting", "paused")  # of open runs, in the order of their rows
FAILED_FIRST = 3  # failed runs that stand before the open ones
GAP = "  "
_NARROW = 100  # cells; less shortens the names of the priorities
_SHORT = {"emergency": "emerg", "medium": "med"}

Cells = Sequence[str | Text]


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to show. `away` says why the server does not answer, since `away_s`; None: it does.

    `interval_s`: between two looks; None: there is only one picture.
    """

    server: str
    interval_s: float | None
    now: int
    beat: Beat
    history: Sequence[Rates] = ()
    away: str | None = None
    away_s: float = 0


def dashboard(scene: Scene, width: int, height: int, pen: Pen) -> list[Text]:
    """The lines of the screen: at most `height`, and each narrower than `width`."""
    top = [*_title(scene, width, pen), Text()]
    tables = [_agents(scene.beat, width), _queues(scene.beat), _runs(scene.beat, scene.now, pen)]
    rooms = share_out(max(0, height - len(top) - 2 * len(tables) + 1), [len(table.rows) for table in tables])
    lines = top
    for table, room in zip(tables, rooms, strict=True):
        lines += [*_drawn(table, room, width, pen), Text()]
    if scene.away is not None:
        for line in lines[len(top) :]:
            line.stylize("dim")  # these are figures of some time ago
    return lines[:-1][:height]


def share_out(room: int, wanted: Sequence[int]) -> list[int]:
    """Lines for each of several lists: who needs less than an equal share leaves the rest to the others."""
    given = [0] * len(wanted)
    for left, at in zip(range(len(wanted), 0, -1), sorted(range(len(wanted)), key=lambda at: wanted[at]), strict=True):
        given[at] = min(wanted[at], room // left)
        room -= given[at]
    return given


# --- the first lines --------------------------------------------------------------------------------------------------


def _title(scene: Scene, width: int, pen: Pen) -> list[Text]:
    beat = scene.beat
    again = f" - every {scene.interval_s:g} s - q quits" if scene.interval_s is not None else ""
    first = f"orchestrator top - {clock(scene.now)}{again} - {scene.server}"
    online = sum(bool(agent.workers) for agent in beat.agents)
    running = sum(agent.running for agent in beat.agents)
    waits = sum(agent.waits for agent in beat.agents)
    states = [_state_of(run, beat) for run in beat.open]
    parts = [f"agents {online} of {len(beat.agents)} online, {running} running, {waits} waiting"]
    parts += [f"runs {_counted({state: states.count(state) for state in STATES} | {'failed': len(beat.failed)})}"]
    parts += [f"{beat.dead_letters} dead letters"] if beat.dead_letters else []
    if scene.away is not None:
        since = duration(round(scene.away_s * 1000))
        words = f"the server does not answer, for {since} now, and is asked again - {scene.away}"
        second = Text(pen.cut(words, width - 1), style="bold red")
    else:
        second = _speeds(scene, width, pen)
    return [Text(pen.cut(first, width - 1), style="bold"), second, Text(pen.cut(" - ".join(parts), width - 1))]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "none open"


def _speeds(scene: Scene, width: int, pen: Pen) -> Text:
    rates = scene.beat.rates
    if rates is None:
        return Text("the rates take a second look", style="dim")
    cells = max(0, min(HISTORY, (width - 60) // 3))
    line = Text()
    for name, value, past in (
        ("steps", rates.steps, [past.steps for past in scene.history]),
        ("runs", rates.runs, [past.runs for past in scene.history]),
        ("messages", rates.messages, [past.messages for past in scene.history]),
    ):
        line.append(f"{GAP if line else ''}{name} ").append(f"{value:.1f}/s", "bold")
        if cells and past:
            line.append(f" {pen.curve(past[-cells:])}", "cyan")
    return line


# --- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """A list with a title for each column; the columns of `right` are figures, and the one `gives` gives way."""

    titles: Sequence[str]
    rows: Sequence[Cells]
    right: frozenset[int]
    gives: int


def _agents(beat: Beat, width: int) -> Table:
    def row(agent: AgentLoad) -> Cells:
        presence = "online" if agent.workers else "offline"
        depths = [str(agent.waiting[priority].count or "") for priority in PRIORITIES]
        oldest = max(waiting.oldest_ms for waiting in agent.waiting.values())
        counts = str(len(agent.workers)), str(agent.running), *depths
        return agent.name, Text(presence, style=LOOKS[presence][2]), *counts, duration(oldest) if oldest else ""

    titles = [_SHORT.get(word, word) if width < _NARROW else word for word in PRIORITIES]
    busy = sorted(beat.agents, key=lambda agent: (-agent.waits, -agent.running, not agent.workers, agent.name))
    columns = ("AGENTS", "presence", "workers", "running", *titles, "oldest")
    return Table(columns, [row(agent) for agent in busy], frozenset(range(2, 10)), 0)


def _queues(beat: Beat) -> Table:
    found = [
        (agent.name, priority, waiting)
        for agent in beat.agents
        for priority, waiting in agent.waiting.items()
        if waiting.count
    ]
    found.sort(key=lambda one: (-one[2].count, one[0]))
    rows = []
    for name, priority, one in found:
        counts = (str(count or "") for count in (one.steps, one.messages, one.handoffs))
        rows.append((name, priority, *counts, duration(one.oldest_ms)))
    columns = ("QUEUES", "priority", "steps", "messages", "handoffs", "oldest")
    return Table(columns, rows, frozenset(range(2, 6)), 0)


def _runs(beat: Beat, now: int, pen: Pen) -> Table:
    def row(run: RunRecord) -> Cells:
        state = _state_of(run, beat)
        since = run.finished_at or run.created_at
        note = f"{run.error.type}: {run.error.message}" if run.error else phase_of(run)
        if run.waits_for:
            note = f"waits for a place under {run.waits_for}"
        active = str(beat.active.get(run.id, 0) or "")
        look = Text.assemble(pen.symbol(state, now), (f" {state}", LOOKS[state][2]))
        return run.id, run.workflow, look, active, duration(max(0, now - since)), note

    open_runs = sorted(beat.open, key=lambda run: STATES.index(_state_of(run, beat)))
    runs = (*beat.failed[:FAILED_FIRST], *open_runs, *beat.failed[FAILED_FIRST:])
    columns = ("RUNS", "workflow", "status", "active", "since", "note")
    return Table(columns, [row(run) for run in runs], frozenset((3, 4)), 5)


def _state_of(run: RunRecord, beat: Beat) -> str:
    """A run none of whose attempts is at work waits, whatever for."""
    if run.state in (RunState.RUNNING, RunState.PENDING):
        return "running" if beat.active.get(run.id) else "waiting"
    return run.state.value


def _drawn(table: Table, room: int, width: int, pen: Pen) -> Iterable[Text]:
    """The titles, and as many rows as there is room for; the last line tells of what has none."""
    rows: list[Cells] = list(table.rows)
    shown = rows if len(rows) <= room else rows[: max(0, room - 1)]
    widths = _widths([table.titles, *shown], table.gives, width, pen)
    yield _line(table.titles, widths, table.right, pen, "bold reverse")
    for row in shown:
        yield _line(row, widths, table.right, pen)
    if len(shown) < len(rows) and room:
        yield Text(f"... {len(rows) - len(shown)} more", style="dim")


def _widths(rows: Sequence[Cells], gives: int, width: int, pen: Pen) -> list[int]:
    """How wide the columns are. One gives way, the first ones after it when that is not enough."""
    widths = [max(cell_len(_plain(cell, pen)) for cell in column) for column in zip(*rows, strict=True)]
    for at in (gives, 0, 1):
        over = sum(widths) + len(GAP) * (len(widths) - 1) - (width - 1)
        widths[at] -= max(0, min(over, widths[at] - 6))
    return widths


def _plain(cell: str | Text, pen: Pen) -> str:
    return cell.plain if isinstance(cell, Text) else pen.plain(cell)


def _line(cells: Cells, widths: Sequence[int], right: frozenset[int], pen: Pen, style: str = "") -> Text:
    line = Text(style=style)
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = cell.copy() if isinstance(cell, Text) else Text(pen.cut(cell, width))
        blank = " " * max(0, width - text.cell_len)
        line.append(GAP if at else "")
        line.append_text(Text(blank) + text if at in right else text + Text(blank))
    return line
