"""Priorities on one worker with one slot."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import RunHandle, WorkflowInvalid
from tests.acceptance.team import Team

ONE = "steps: [{id: a, agent: solo, task: echo}]"


def occupy(crew: Team) -> tuple[RunHandle, Path]:
    """A run that holds the only slot of `solo` until its file is there."""
    door = crew.new_file()
    run = crew.submit(f'steps: [{{id: a, agent: solo, task: hold, with: {{until: "{door}"}}}}]')
    crew.wait_for_start(run, "a")
    return run, door


def order(crew: Team, runs: dict[str, RunHandle]) -> list[str]:
    """The names of runs in the order in which their handlers started."""
    for run in runs.values():
        run.wait(20)
    starts = {name: crew.journal(run)[0]["at_s"] for name, run in runs.items()}
    return sorted(starts, key=starts.__getitem__)


def test_an_urgent_run_overtakes_queued_ones_at_the_next_free_slot(crew: Team) -> None:
    _, door = occupy(crew)
    runs = {f"low {n}": crew.submit(ONE, priority="low") for n in range(5)}
    runs["urgent"] = crew.submit(ONE, priority="urgent")
    door.touch()
    assert order(crew, runs) == ["urgent", *(f"low {n}" for n in range(5))]


def test_the_five_words_are_an_order(crew: Team) -> None:
    _, door = occupy(crew)
    words = ["medium", "low", "emergency", "high", "urgent"]
    runs = {word: crew.submit(ONE, priority=word) for word in words}
    door.touch()
    assert order(crew, runs) == ["emergency", "urgent", "high", "medium", "low"]


def test_the_file_and_the_step_may_set_the_priority(crew: Team) -> None:
    _, door = occupy(crew)
    runs = {
        "by default": crew.submit(ONE),
        "file": crew.submit("priority: high\n" + ONE),
        "step": crew.submit("priority: low\nsteps: [{id: a, agent: solo, task: echo, priority: emergency}]"),
    }
    door.touch()
    assert order(crew, runs) == ["step", "file", "by default"]


def test_an_unknown_priority_is_refused_before_anything_is_stored(crew: Team) -> None:
    before = len(crew.client.runs(limit=10_000))
    with pytest.raises(WorkflowInvalid, match=r"no priority 'hihg' \(did you mean high\?\)"):
        crew.submit(ONE, priority="hihg")
    assert len(crew.client.runs(limit=10_000)) == before
