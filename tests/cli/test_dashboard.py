"""The picture of `orchestrator top`, without a server and a terminal."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from orchestrator.cli.dashboard import Scene, dashboard, share_out
from orchestrator.cli.drawing import Pen, Picture
from orchestrator.metrics.pulse import Beat, Rates
from orchestrator.records import RunRecord, StepError
from orchestrator.states import RunState
from orchestrator.store.load import PRIORITIES, AgentLoad, Waiting

NOTHING = dict.fromkeys(PRIORITIES, Waiting())


def agent(name: str, *workers: str, running: int = 0, **waiting: Waiting) -> AgentLoad:
    return AgentLoad(name, running, workers, NOTHING | waiting)


def run(run_id: str, state: RunState = RunState.RUNNING, error: str = "", **fields: object) -> RunRecord:
    failed = StepError("ValueError", error) if error else None
    return RunRecord(run_id, "demo", "", "", state, "medium", created_at=0, error=failed, **fields)  # type: ignore[arg-type]


def beat(*agents: AgentLoad, **fields: object) -> Beat:
    nothing = {"open": [], "active": {}, "failed": [], "dead_letters": 0, "rates": None}
    return Beat(at=60_000, agents=agents, **(nothing | fields))  # type: ignore[arg-type]


def drawn(of: Beat, width: int = 120, height: int = 40, *, unicode: bool = True, **scene: object) -> list[str]:
    pen = Pen(unicode=unicode, spins=False)
    found = dashboard(Scene("redis://there", 1.0, 60_000, of, **scene), width, height, pen)  # type: ignore[arg-type]
    return [line.plain.rstrip() for line in found]


def test_agents_queues_and_runs_each_have_a_list() -> None:
    lines = drawn(
        beat(
            agent("idle", "w1@here"),
            agent("busy", "w1@here", "w2@here", running=3, high=Waiting(4, 1, 1, 9_000), low=Waiting(1)),
            agent("gone"),
            open=[run("r1"), run("r2"), run("r3", RunState.PAUSED), run("r4", RunState.PENDING, waits_for="main")],
            active={"r1": 2},
            failed=[run("r5", RunState.FAILED, "no luck", finished_at=30_000)],
            dead_letters=2,
        )
    )
    assert lines[0].endswith(" - every 1 s - q quits - redis://there")
    assert lines[2] == (
        "agents 2 of 3 online, 3 running, 7 waiting - runs 1 running, 2 waiting, 1 paused, 1 failed - 2 dead letters"
    )
    words = [line.split() for line in lines]
    assert words[4] == ["AGENTS", "presence", "workers", "running", *PRIORITIES, "oldest"]
    assert words[5] == ["busy", "online", "2", "3", "6", "1", "9.0", "s"]
    assert lines[5].index(" 6 ") > lines[4].index("high"), "it stands in the column of its priority"
    assert [row[:2] for row in words[6:8]] == [["idle", "online"], ["gone", "offline"]]
    assert words[9:12] == [
        ["QUEUES", "priority", "steps", "messages", "handoffs", "oldest"],
        ["busy", "high", "4", "1", "1", "9.0", "s"],
        ["busy", "low", "1", "0.0", "s"],
    ]
    assert words[14][:1] + words[14][3:] == ["r5", "failed", "30", "s", "ValueError:", "no", "luck"]
    assert [(row[0], row[3]) for row in words[15:]] == [
        ("r1", "running"), ("r2", "waiting"), ("r4", "waiting"), ("r3", "paused"),
    ]  # fmt: skip
    assert lines[17].endswith("waits for a place under main")


def test_rates_have_curves_where_there_is_room() -> None:
    now = Rates(steps=10, runs=0.5, messages=0, over_s=1)
    past = [Rates(value, 0, 0, 1) for value in (0, 5, 10)]
    assert drawn(beat(rates=now), history=past)[1] == "steps 10.0/s ▁▅█  runs 0.5/s ▁▁▁  messages 0.0/s ▁▁▁"
    assert drawn(beat(rates=now), 60, history=past)[1] == "steps 10.0/s  runs 0.5/s  messages 0.0/s"
    assert drawn(beat())[1] == "the rates take a second look"


def test_a_server_that_is_away_is_told_of_in_place_of_the_rates() -> None:
    line = drawn(beat(), away="connection refused", away_s=14)[1]
    assert line == "the server does not answer, for 14 s now, and is asked again - connection refused"


MANY = beat(
    *(agent(f"エージェント-{at}-[red]", *(["w"] * (at % 2)), running=at, medium=Waiting(at)) for at in range(50)),
    open=[run(f"\x1b[31m{at:018}") for at in range(300)],
    failed=[run("bad" * 6, RunState.FAILED, "very long\n" * 50)],
    rates=Rates(123456.7, 1234.5, 99999.9, 1.0),
)


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (100, 5), (30, 3)])
def test_it_fits_any_terminal(width: int, height: int, unicode: bool) -> None:
    pen = Pen(unicode=unicode, spins=False)
    screen = Console(file=StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    screen.print(Picture(dashboard(Scene("redis://there", 1.0, 60_000, MANY), width, height, pen)), end="")
    assert isinstance(screen.file, StringIO)
    lines = screen.file.getvalue().splitlines()
    assert len(lines) <= height
    assert max(map(cell_len, lines)) < width
    assert "\x1b" not in "".join(lines)
    if height >= 24:
        assert len(lines) == height, "the lines that there are are used"
        assert sum(line.startswith("... ") and line.endswith(" more") for line in lines) == 3


def test_lists_share_the_lines_and_leave_what_they_do_not_need() -> None:
    assert share_out(30, [100, 100, 100]) == [10, 10, 10]
    assert share_out(30, [2, 100, 5]) == [2, 23, 5]
    assert share_out(30, [2, 3, 4]) == [2, 3, 4]
    assert share_out(2, [9, 9, 9]) == [0, 1, 1]
    assert share_out(0, [9, 9]) == [0, 0]
