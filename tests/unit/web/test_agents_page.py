"""How many steps each agent has done lately, from the tasks that Flower has heard of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from orchestrator.web.agent_pages import LATELY_S, done_lately

NOW = 1_000_000.0


def heard(name: str | None, ago_s: float | None, state: str = "SUCCESS") -> Any:
    return SimpleNamespace(name=name, state=state, succeeded=None if ago_s is None else NOW - ago_s)


def test_only_steps_that_were_done_in_the_last_minute_count() -> None:
    tasks = [
        heard("writer.draft", 1), heard("writer.review", LATELY_S), heard("a.b.task", 2),
        heard("writer.draft", LATELY_S + 1), heard("writer.draft", 1, "FAILURE"), heard("writer.draft", None),
        heard(None, 1),
    ]  # fmt: skip
    found = done_lately(tasks, NOW)
    assert dict(found) == {"writer": 2, "a.b": 1}
    assert found["nobody"] == 0
