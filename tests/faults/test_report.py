"""The published figures are those that were measured."""

from __future__ import annotations

import pytest

from tests.faults import report


def test_the_document_is_what_the_committed_results_give() -> None:
    assert report.DOCUMENT.read_text() == report.document(report.load()), "run: python -m tests.faults.report"


def test_so_is_the_block_of_the_readme() -> None:
    text = report.README.read_text()
    assert text == report.with_block(text, report.load()), "run: python -m tests.faults.report"


@pytest.mark.parametrize(
    ("failures", "trials", "rate"),
    [(0, 299, 0.01), (0, 2995, 0.001), (0, 29_956, 0.0001), (1, 473, 0.01), (1, 4742, 0.001), (0, 10_000, 0.0003)],
)
def test_how_many_trials_a_figure_needs(failures: int, trials: int, rate: float) -> None:
    assert report.failure_rate(failures, trials) == pytest.approx(rate, rel=0.01)


def test_what_celery_alone_did_stands_beside_the_fault() -> None:
    ours = {"id": "F01", "title": "a fault", "about": "", "load": "", "share_of_load": 1, "counts": {}, "recovery": {}}
    ours |= {"targets": [], "broken": [], "passed": True}
    counts = {"defaults": {"accepted": 9, "lost": 2}, "best": {"accepted": 9, "waiting": 1, "lost": 0}}
    bare = {"load": "9 tasks", "counts": counts, "about": "1 worker"}
    [row] = report._rows([ours], {"bare_F01": bare})
    assert row[-1] == "9 tasks. defaults: accepted 9, lost 2; best: accepted 9, lost 0, waiting 1. 1 worker"
