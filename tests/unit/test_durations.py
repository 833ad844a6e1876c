"""How long something took, in words."""

from __future__ import annotations

import pytest

from orchestrator.durations import duration

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (None, ""), (-5, "0.0 s"), (0, "0.0 s"), (340, "0.3 s"), (9_949, "9.9 s"), (9_960, "10 s"), (42_400, "42 s"),
        (59_700, "1m 00s"), (185_000, "3m 05s"), (2 * HOUR_MS + 600_000, "2h 10m"), (50 * HOUR_MS, "2d 2h"),
    ],
)  # fmt: skip
def test_durations(span_ms: int | None, text: str) -> None:
    assert duration(span_ms) == text
