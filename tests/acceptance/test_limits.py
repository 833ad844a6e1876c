"""`make limits` in small: every part measures, what must hold at any size does, the tables are of the last run."""

from __future__ import annotations

import json

import pytest

from benchmarks.limits import lists, memory, queued, rates, report


def test_a_queue_that_nobody_serves_is_worked_off_once() -> None:
    found = queued.measure(runs=6, items=10, workers=1, hold_s=0.5)
    assert queued.broken(found) == []
    assert found["by_kind"]["messages"] > 0
    assert found["server_us_per_step"] > 0


@pytest.mark.long
def test_every_shape_is_weighed_by_kind_of_key() -> None:
    found = memory.measure(steps=100)
    assert set(found) == set(memory.SHAPES)
    for row in found.values():
        assert row["by_kind"]["outputs"] > 100
        assert row["by_kind"]["messages"] == row["by_kind"]["ready"] == 0


def test_lists_are_timed() -> None:
    runs, agents = lists.runs(120), lists.agents(20)
    assert (runs["runs"], agents["agents"]) == (120, 20)
    assert min(value for row in (runs, agents) for value in row.values()) > 0


@pytest.mark.long
def test_rates_are_measured() -> None:
    assert len(rates.steps(50, workers=1, apart=True)["server_us_per_step"]) == 2
    assert rates.messages(100, workers=1)["server_us_per_message"] > 0
    assert rates.idle(1, for_s=0.5)["requests_per_s"] > 0


@pytest.mark.parametrize("page", report.PAGES, ids=lambda page: page.parent.name)
def test_the_tables_are_those_of_the_committed_results(page) -> None:
    text = page.read_text("utf-8")
    assert report.BLOCK.search(text)
    assert text == report.with_block(text, json.loads(report.RESULTS.read_text())), "run: make limits"
