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
