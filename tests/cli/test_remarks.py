"""What is said about runs and steps beside their state."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from orchestrator.cli.remarks import about_run, about_step, phase_of
from orchestrator.cli.text import clock, day_and_clock
from orchestrator.records import RunRecord, StepError, StepRecord
from orchestrator.states import RunState, StepState

NOW = int(datetime.now().replace(hour=12, minute=0, second=0, microsecond=0).timestamp() * 1000)
LATER = NOW + 10 * 86_400_000
ERROR = StepError("ValueError", "no luck")


def run(state: str = "running", **fields: Any) -> RunRecord:
    return RunRecord("01a", "w", "", "hash", RunState(state), "medium", 0, **fields)


@pytest.mark.parametrize(
    ("record", "phase"),
    [
        (run(phase="compensate", verdict="cancelled"), "cancelled, undoing"),
        (run(phase="finally", verdict="failed"), "failed, finally"),
        (run(phase="main", verdict="failed"), ""),
        (run("failed", phase="finally", verdict="failed"), ""),
        (run(), ""),
    ],
)
def test_a_run_that_is_stopped_says_how_it_will_end_and_what_still_runs(record: RunRecord, phase: str) -> None:
    assert phase_of(record) == phase


def test_a_run_says_where_it_comes_from_and_what_it_waits_for() -> None:
    assert about_run(run()) == []
    assert about_run(run(parent="01p", parent_step="kids[1]", rerun_of="01r")) == [
        "child of run 01p, step kids[1]",
        "repeats run 01r",
    ]
    assert about_run(run(waits_for="w:main"), ["01x", "01y"]) == ["waits for a place under w:main, taken by 01x, 01y"]
    assert about_run(run(signals=("go",))) == ["signals nobody waits for yet: go"]
    assert about_run(run("failed", signals=("go",))) == ["signals nobody waited for: go"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"items": 3, "items_done": 1, "reused": True}, "taken over, 1/3"),
        ({"rounds": 2, "progress": 0.5, "note": "reading"}, "round 2, 50%, reading"),
        ({"hands": ("a", "b"), "state": "succeeded", "error": ERROR}, "went from a to b"),
        ({"state": "waiting", "error": ERROR, "retry_at": NOW}, f"ValueError: no luck, again at {clock(NOW)}"),
        ({"state": "waiting", "reason": "waits for the limit x", "retry_at": NOW}, "waits for the limit x"),
        (
            {"state": "waiting", "reason": "waits for the signal x", "signal": "x", "retry_at": LATER},
            f"waits for the signal x, until {day_and_clock(LATER)}",
        ),
        ({"state": "waiting", "retry_at": NOW}, f"until {clock(NOW)}"),
        ({"state": "waiting", "child": "01c"}, "run 01c"),
        ({"state": "cancelled", "reason": "waits for the signal x"}, ""),
    ],
)
def test_a_step_says_why_it_waits_and_how_far_it_is(fields: dict[str, Any], said: str) -> None:
    state = StepState(fields.pop("state", "running"))
    assert about_step(StepRecord("x", state, **fields)) == said
