"""Lines of a run on a terminal: columns, colours, bars and a spinner. Pure: the moment and the size are given.

Every text is cut to the width by the cells it takes, and a line stays one cell short of it, because terminals differ in
the width of some characters and a line that wraps would shift all that is drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

from orchestrator.cli.nodes import FAILED, RUNNING, WAITING, Counts
from orchestrator.cli.output import LOOKS
from orchestrator.cli.text import one_line
from orchestrator.cli.tree import Line
from orchestrator.durations import duration
from orchestrator.states import StepState

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPINNER_ASCII = "|/-\\"
CURVE, CURVE_ASCII = "▁▂▃▄▅▆▇█", "_.-=*#"
SPIN_MS = 200  # how long a picture of the spinner stays
HEADER_LINES = 2
LOW = 8  # lines of a terminal that is too low for a second line of the header
NARROW, WIDE = 60, 110  # cells: less leaves out the agents, more has longer bars
SHORT_BAR, LONG_BAR = 10, 24
QUIET = (StepState.PENDING, StepState.SKIPPED, StepState.CANCELLED)
LOUD = (StepState.FAILED, StepState.WAITING)
_ASCII = str.maketrans({"├": "|", "│": "|", "└": "`", "…": "~"})
_TIME = 7  # cells of `12m 05s`


class Pen:
    """How things look on one terminal. `spins`: what runs has a spinner, for it will be drawn again."""

    def __init__(self, *, unicode: bool, spins: bool = True) -> None:
        self._unicode = unicode
        self.spins = spins

    def plain(self, text: str) -> str:
        """A text as this terminal can show it, on one line and without control characters."""
        text = one_line(text, limit=1000)
        return text if self._unicode else text.translate(_ASCII)

    def plain_guide(self, guide: str) -> str:
        return guide if self._unicode else guide.translate(_ASCII)

    @property
    def arrow(self) -> str:
        return "→" if self._unicode else ">"

    def symbol(self, state: str, now: int) -> Text:
        sign, ascii_sign, style = LOOKS[state]
        if state == StepState.RUNNING and self.spins:
            pictures = SPINNER if self._unicode else SPINNER_ASCII
            return Text(pictures[now // SPIN_MS % len(pictures)], style=style)
        return Text(sign if self._unicode else ascii_sign, style=style)

    def bar(self, share: float, cells: int, style: str = "cyan") -> Text:
        """`━━━━━╸─────`, or `#####-----`."""
        halves = round(min(1.0, max(0.0, share)) * cells * 2)
        full, half = divmod(halves, 2)
        if not self._unicode:
            return Text.assemble(("#" * full, style), ("-" * (cells - full), "dim"))
        done = "━" * full + "╸" * half
        return Text.assemble((done, style), ("─" * (cells - len(done)), "dim"))

    def curve(self, values: Sequence[float]) -> str:
        """`▁▁▃▇█▂`: a value each, against the highest."""
        signs = CURVE if self._unicode else CURVE_ASCII
        highest = max(values, default=0) or 1
        return "".join(signs[round(value / highest * (len(signs) - 1))] for value in values)

    def cut(self, text: str, cells: int) -> str:
        """The text in at most so many cells."""
        text = self.plain(text)
        if cell_len(text) <= cells:
            return text
        return set_cell_size(text, cells - 1).rstrip() + ("…" if self._unicode else "~") if cells > 0 else ""


class Picture:
    """Lines that are drawn as they are, each on a line of its own. None is wider than the terminal."""

    def __init__(self, lines: Sequence[Text]) -> None:
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from Segment.adjust_line_length(
                [segment for segment in line.render(console) if segment.text], options.max_width - 1, pad=False
            )
            yield Segment.line()


def header(words: Sequence[str], state: str, counts: Counts, now: int, width: int, height: int, pen: Pen) -> list[Text]:
    """Which run it is, and how far. `words` are what is said of it."""
    text = pen.cut(" - ".join(word for word in words if word), width - 3)
    first = Text.assemble(pen.symbol(state, now), " ", (text, "bold"))
    if height < LOW:
        return [first]
    known = {FAILED: "failed", RUNNING: "running", WAITING: "waiting"}
    more = "".join(f", {counts[place]} {word}" for place, word in known.items() if counts[place])
    bar = pen.bar(counts.over / counts.total if counts.total else 1, min(24, max(8, width // 5)), LOOKS[state][2])
    steps = pen.cut(f"{counts.over} of {counts.total} steps{more}", width - len(bar) - 4)
    return [first, Text.assemble("  ", bar, " ", (steps, "dim"))]


def body(lines: Sequence[Line], now: int, width: int, pen: Pen) -> list[Text]:
    """The lines of the tree, in columns: the tree, the agent, the time, and what there is to say."""
    heads = [cell_len(line.guide) + 2 + cell_len(pen.plain(line.name)) for line in lines if line.name]
    head = min(max(heads, default=4), max(16, width * 2 // 5))
    agents = [cell_len(pen.plain(line.agent)) for line in lines]
    agent = min(max(agents, default=0), width // 6) if width >= NARROW else 0
    return [_row(line, now, width, head, agent, pen) for line in lines]


def _row(line: Line, now: int, width: int, head: int, agent: int, pen: Pen) -> Text:
    row = Text.assemble((pen.plain_guide(line.guide), "dim"))
    if line.name:
        row.append_text(pen.symbol(line.state, now))
        name = pen.cut(line.name, max(4, head - cell_len(line.guide) - 2))
        row.append(f" {name}", "dim" if line.state in QUIET else "bold" if line.state == StepState.RUNNING else "")
        row.pad_right(max(0, head - row.cell_len))
        if agent:
            row.append("  " + set_cell_size(pen.cut(line.agent, agent), agent), "dim")
        row.append(f"  {duration(line.spent_ms):>{_TIME}}  ", "dim")
    elif not line.remark.command:
        row.append_text(pen.symbol(line.state, now)).append(" ")
    return _remark(row, line, width, pen)


def _remark(row: Text, line: Line, width: int, pen: Pen) -> Text:
    """What is left of the width: a bar, if there is room for one, and words."""
    remark, style = line.remark, LOOKS[line.state][2] if line.state in LOUD else "dim"
    if remark.command and not line.name:
        return row.append(f"  {pen.arrow} ", style).append(pen.cut(remark.command, width - row.cell_len - 1), "bold")
    if remark.share is not None and width - row.cell_len > 2 * SHORT_BAR:
        row.append_text(pen.bar(remark.share, LONG_BAR if width >= WIDE else SHORT_BAR)).append(" ")
    return row.append(pen.cut(remark.text, width - row.cell_len - 1), style)
