"""Text for people."""

from __future__ import annotations

import pytest

from orchestrator.cli.text import duration, one_line, visible


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (None, ""),
        (0, "0.0 s"),
        (340, "0.3 s"),
        (42_000, "42 s"),
        (185_000, "3m 05s"),
        (7_800_000, "2h 10m"),
        (-5, "0.0 s"),
    ],
)
def test_durations(span_ms: int | None, text: str) -> None:
    assert duration(span_ms) == text


def test_control_characters_are_shown_and_other_scripts_left_alone() -> None:
    assert visible("\x1b[2J\u202eevil\r") == "\\x1b[2J\\u202eevil\\r"
    assert visible("Ünïcødé 日本\nline") == "Ünïcødé 日本\nline"


def test_one_line_joins_and_cuts() -> None:
    assert one_line("a\n  b") == "a b"
    assert one_line({"a": [1]}) == '{"a": [1]}'
    assert one_line("x" * 300, limit=10) == "xxxxxxxxx…"
