"""The published figures of the benchmarks are those that were measured, and a miss is shown as one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import report


def test_the_tables_are_what_the_committed_results_give() -> None:
    text = report.README.read_text()
    assert text == report.with_block(text, json.loads(report.RESULTS.read_text())), "run: python -m benchmarks.report"


def test_the_committed_results_have_a_figure_for_each_target() -> None:
    found = report.Found(json.loads(report.RESULTS.read_text()))
    assert [target.work for target in report.TARGETS if target.cells(found)[-1] == ""] == []


def document(ours_ms: list[float], bare_ms: list[float]) -> dict[str, Any]:
    systems = {"ours": {"rounds": [{"ms": ms} for ms in ours_ms]}, "bare": {"rounds": [{"ms": ms} for ms in bare_ms]}}
    systems["huey"] = {"left_out": "RecursionError"}
    case = {"what": "", "date": "2026-01-01", "rounds": 3, "load": 0.1, "systems": systems}
    cases = {"chain-one-agent/10": case, "throughput-one-agent/1000": case}
    return {"machine": "", "settings": "", "versions": {}, "cases": cases}


@pytest.mark.parametrize(
    ("ours_ms", "bare_ms", "time", "speed"),
    [
        ([1.0, 9.0, 2.0], [8.0, 8.0, 1.0], "0.25x | yes", "4x | yes"),  # medians, 2 and 8
        ([4.0], [8.0], "0.5x | **no**", "2x | **no**"),
    ],
)
def test_a_ratio_is_of_medians_and_a_miss_is_bold(
    ours_ms: list[float], bare_ms: list[float], time: str, speed: str
) -> None:
    text = report.tables(document(ours_ms, bare_ms))
    assert f"| 10 steps of one agent: time | ≤ 0.3x (goal 0.15x) | {time} |" in text
    assert f"| 1,000 five-step workflows of one agent: steps/s | ≥ 4x | {speed} |" in text


def test_what_is_left_out_has_its_reason_below() -> None:
    text = report.tables(document([1.0], [2.0]), unmeasured=False)
    assert "| 10 steps, one agent: ms/step | 1.00 | 2.00 | - [1] | - | - |" in text
    assert "\n1. RecursionError\n" in text


def test_a_target_without_a_figure_says_so() -> None:
    assert "| start of a worker: time | ≤ 0.4x | not measured |  |" in report.tables(document([1.0], [2.0]))
