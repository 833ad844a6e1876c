"""Lines on a terminal of a given size, without one."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from orchestrator.cli.drawing import SPIN_MS, SPINNER, Pen, Picture, body, header
from orchestrator.cli.nodes import Counts
from orchestrator.cli.remarks import Remark
from orchestrator.cli.tree import Line
from orchestrator.states import StepState

RUNNING = StepState.RUNNING
NAMES = (
    "plain", "long" * 30, "名前がとても長いステップ" * 5, "🎉🎈" * 20, "\x1b[31mred\x07", "[red]markup[/red]",
    "e\u0301",
)  # fmt: skip


def drawn(lines: list[Line], width: int, *, unicode: bool = True, now: int = 0) -> list[str]:
    pen = Pen(unicode=unicode)
    screen = Console(file=StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    screen.print(Picture(body(lines, now, width, pen)), end="")
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_as_wide_as_the_terminal_and_none_wraps(name: str, width: int) -> None:
    guides = ("", "├ │ │ │ └ ")
    lines = [
        Line(guide, state, name, f"{name}.{name}", 754_000, Remark(name, share, command))
        for guide in guides for state in StepState for share in (None, 0.5) for command in ("", name)
    ]  # fmt: skip
    found = drawn([*lines, Line("", RUNNING, "", remark=Remark(name, None, name))], width)
    assert len(found) == len(lines) + 1
    assert max(map(cell_len, found)) < width


def test_control_characters_and_markup_are_shown_as_they_are() -> None:
    [line] = drawn([Line("", RUNNING, "\x1b[31mred", "[bold]a.b[/bold]", 0, Remark("[red]luck[/red]\x07\n!"))], 120)
    assert "\x1b[31mred".replace("\x1b", "\\x1b") in line
    assert "[bold]a.b[/bold]" in line
    assert "[red]luck[/red]\\x07 !" in line


def test_columns_stand_below_each_other_whatever_the_names_are_made_of() -> None:
    lines = [Line("", StepState.SUCCEEDED, name, "a.b", 1000) for name in ("plain", "名前", "🎉")]
    assert {cell_len(line[: line.index("a.b")]) for line in drawn(lines, 80)} == {9}


def test_what_runs_has_a_spinner_until_the_last_picture() -> None:
    pen = Pen(unicode=True)
    moments = [pen.symbol(RUNNING, at * SPIN_MS).plain for at in range(len(SPINNER))]
    assert "".join(moments) == SPINNER
    pen.spins = False
    assert pen.symbol(RUNNING, 0).plain == "▶"


def test_bars_are_as_long_as_their_share() -> None:
    pen = Pen(unicode=True)
    assert [pen.bar(share, 4).plain for share in (0, 0.4, 0.5, 1, 7)] == ["────", "━╸──", "━━──", "━━━━", "━━━━"]
    assert Pen(unicode=False).bar(0.5, 4).plain == "##--"


def test_a_terminal_without_unicode_gets_ascii() -> None:
    long = Line("│ └ ", StepState.WAITING, "x" * 99, remark=Remark("y" * 99, 0.5))
    found = drawn([long, Line("", RUNNING, "", remark=Remark(command="orchestrator approve 1 a"))], 80, unicode=False)
    assert all(line.isascii() for line in found), found
    assert found[0].startswith("| ` ~ xxx")
    assert found[1].strip() == "> orchestrator approve 1 a"


def test_the_header_tells_how_far_the_run_is_and_is_short_where_there_is_no_room() -> None:
    words, counts, pen = ("demo", "run 01a", "running", ""), Counts((3, 1, 1, 2, 1, 2)), Pen(unicode=True)
    first, second = header(words, "running", counts, 0, 80, 24, pen)
    assert first.plain == f"{SPINNER[0]} demo - run 01a - running"
    assert second.plain == "  ━━━━━━━━──────── 5 of 10 steps, 1 failed, 2 running, 1 waiting"
    assert len(header(words, "running", counts, 0, 80, 6, pen)) == 1


def test_a_narrow_terminal_leaves_out_the_agents() -> None:
    [line] = drawn([Line("", StepState.FAILED, "bad", "writer.draft", 1000, Remark("E: m"))], 50)
    assert line.split() == ["✗", "bad", "1.0", "s", "E:", "m"]
