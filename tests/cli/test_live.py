"""The picture that is drawn while a run goes on, and the lines where none can be."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from orchestrator.cli.drawing import Picture
from orchestrator.cli.live import LineView, TreeView
from orchestrator.cli.terminal import Frame
from orchestrator.records import StepRecord
from orchestrator.states import StepState
from tests.cli.texts import event, plan_of

PLAN = plan_of(
    """
    steps:
      - {id: a, agent: writer, compensate: {agent: writer, task: undo}}
      - {id: sign, wait: {signal: approval}}
    finally: [{id: clean, agent: writer}]
    """
)


def terminal(width: int = 100, height: int = 30) -> Console:
    return Console(file=StringIO(), width=width, height=height, force_terminal=True, color_system=None)


def drawn(view: TreeView) -> list[str]:
    """The lines of the picture as they stand."""
    view._kept = None
    return [line.plain.rstrip() for line in view.draw().lines]


def test_the_picture_tells_what_holds_the_run_and_grows_by_what_comes_up() -> None:
    view = TreeView(PLAN, "01a", terminal())
    view.take(event("run.queued", note="test:main"))
    head, steps, *rows = drawn(view)
    assert head.startswith("· test - run 01a - pending")
    assert head.endswith(" - waits for a place under test:main")
    assert steps.endswith("0 of 2 steps")
    assert [row.split()[1] for row in rows] == ["a", "sign"]
    for happened in (
        event("run.started"), event("step.succeeded", "a"), event("run.paused"),
        event("step.waiting", "sign", note="waits for the signal approval"),
    ):  # fmt: skip
        view.take(happened)
    head, steps, *rows = drawn(view)
    assert head.endswith(" - nothing more starts")
    assert steps.endswith("1 of 2 steps, 1 waiting")
    assert rows[1].endswith("waits for the signal approval")
    assert rows[2].strip().endswith("orchestrator approve 01a sign")
    for happened in (
        event("run.resumed"), event("step.cancelled", "sign"), event("step.started", "a.compensate"),
        event("step.started", "clean"),
    ):  # fmt: skip
        view.take(happened)
    _, steps, *rows = drawn(view)
    assert steps.endswith("2 of 4 steps, 2 running")
    assert [row.split()[1] for row in rows] == ["a", "sign", "undoing", "a.compensate", "finally", "clean"]


def test_what_others_tell_of_a_step_is_drawn_too() -> None:
    view = TreeView(PLAN, "01a", terminal(), skew_ms=0)
    view.take(event("run.created"))
    view.look_at({"critic"})
    assert drawn(view)[2].endswith("waits for a worker of agent writer")
    view.take(event("step.retrying", "a", attempt=1, type="E", message="m"))
    assert view.unknown() == ["a"]
    view.learn([StepRecord("a", StepState.WAITING, retry_at=1)])
    assert drawn(view)[2].endswith("attempt 2, queued for writer: E: m"), "it is due"


@pytest.mark.parametrize("height", [1, 3, 5, 8, 24])
def test_a_picture_is_lower_than_the_terminal(height: int) -> None:
    wide = plan_of("steps:\n" + "".join(f"  - {{id: s{at}, agent: w}}\n" for at in range(100)))
    view = TreeView(wide, "01a", terminal(80, height))
    view.take(event("run.created"))
    assert len(drawn(view)) <= max(2, height - 1)


def test_a_frame_goes_back_over_the_lines_that_its_picture_takes_after_the_terminal_has_become_narrower() -> None:
    screen = terminal(width=40)
    picture = Picture([Text("x" * 39), Text("y" * 10)])
    frame = Frame(screen, lambda: picture)
    frame.auto_refresh = False
    frame.start()
    frame.refresh()
    assert isinstance(screen.file, StringIO)
    before = screen.file.getvalue()
    screen.width = 20
    frame.refresh()
    frame.stop()
    # 39 cells take two lines of 20, so the first line of the picture is two lines above the cursor.
    assert screen.file.getvalue().removeprefix(before).startswith("\r\x1b[2K" + 2 * "\x1b[1A\x1b[2K" + "x")


def test_what_is_printed_meanwhile_stands_above_the_picture() -> None:
    screen = terminal()
    frame = Frame(screen, lambda: Picture([Text("the picture")]))
    frame.auto_refresh = False
    frame.start()
    frame.refresh()
    screen.print("a line")
    frame.stop()
    assert isinstance(screen.file, StringIO)
    text = screen.file.getvalue()
    assert text.index("a line") < text.rindex("the picture")
    assert text.endswith("the picture\n\x1b[?25h")


def test_lines_say_how_to_answer_a_step_that_waits_for_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    view = LineView(PLAN, "01a")
    view.take(event("step.waiting", "sign", note="waits for the signal approval"))
    view.take(event("step.waiting", "sign"))
    first, hint, second = capsys.readouterr().err.splitlines()
    assert first.endswith("step sign waits for the signal approval")
    assert hint.strip() == "`orchestrator approve 01a sign` lets it go on, `reject` fails it"
    assert second.endswith("step sign waits")
