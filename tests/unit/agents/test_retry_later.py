"""How long a handler may ask to wait."""

from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator import RetryLater
from orchestrator.agents.failures import asked_for_ms
from orchestrator.backoff import retry_delay_ms
from orchestrator.messages import LONGEST_MS, LONGEST_S


@pytest.mark.parametrize(
    ("after_s", "ms"),
    [(2, 2000), (0.5, 500), (-1, 0), (math.inf, 0), (-math.inf, 0), (math.nan, 0), ("x", 0), (None, 0),
     (1e12, LONGEST_S * 1000), (1e300, LONGEST_S * 1000), (10**400, LONGEST_S * 1000)],
)  # fmt: skip
def test_what_a_handler_asks_for_is_a_time_of_a_year_at_most(after_s: Any, ms: int) -> None:
    assert asked_for_ms(RetryLater("busy", after_s=after_s)) == ms


def test_an_exponential_wait_ends_at_a_year() -> None:
    assert LONGEST_MS == LONGEST_S * 1000
    assert retry_delay_ms(60, delay_ms=1000) == LONGEST_MS
    assert retry_delay_ms(3, delay_ms=LONGEST_MS, backoff="linear") == LONGEST_MS
    assert retry_delay_ms(1, delay_ms=1000, floor_ms=2 * LONGEST_MS) == LONGEST_MS
