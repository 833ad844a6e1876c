"""The table that is drawn while a run goes on."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from orchestrator.cli.live import LineView, TableView
from tests.cli.texts import event, plan_of

PLAN = plan_of(
    """
    steps:
      - {id: a, agent: writer, compensate: {agent: writer, task: undo}}
      - {id: sign, wait: {signal: approval}}
    finally: [{id: clean, agent: writer}]
    """
)


def drawn(view: TableView) -> list[str]:
    """The lines of the table as they stand."""
    screen = Console(file=StringIO(), width=100)
    screen.print(view.draw())
    assert isinstance(screen.file, StringIO)
    return [line.rstrip() for line in screen.file.getvalue().splitlines()]


def test_the_table_tells_what_holds_the_run_and_grows_by_what_comes_up() -> None:
    view = TableView(PLAN, "01a", Console(file=StringIO(), width=100, height=30))
    view.take(event("run.queued", note="test:main"))
    header, _, *rows = drawn(view)
    assert header.startswith("test  01a")
    assert header.endswith("0/2 steps  waits for a place under test:main")
    assert [row.split()[0] for row in rows] == ["a", "sign"]
    for happened in (
        event("run.started"), event("step.succeeded", "a"), event("run.paused"),
        event("step.waiting", "sign", note="waits for the signal approval"),
    ):  # fmt: skip
        view.take(happened)
    header, _, *rows = drawn(view)
    assert header.endswith("1/2 steps  paused")
    assert rows[1].endswith("waits for the signal approval")
    for happened in (
        event("run.resumed"), event("step.cancelled", "sign"), event("step.started", "a.compensate"),
        event("step.started", "clean"),
    ):  # fmt: skip
        view.take(happened)
    header, _, *rows = drawn(view)
    assert header.endswith("2/4 steps")
    assert [row.split()[0] for row in rows] == ["a", "sign", "a.compensate", "clean"]


def test_lines_say_how_to_answer_a_step_that_waits_for_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    view = LineView(PLAN, "01a")
    view.take(event("step.waiting", "sign", note="waits for the signal approval"))
    view.take(event("step.waiting", "sign"))
    first, hint, second = capsys.readouterr().err.splitlines()
    assert first.endswith("step sign waits for the signal approval")
    assert hint.strip() == "`orchestrator approve 01a sign` lets it go on, `reject` fails it"
    assert second.endswith("step sign waits")
