"""Text for people."""

from __future__ import annotations

from orchestrator.cli.text import one_line, visible


def test_control_characters_are_shown_and_other_scripts_left_alone() -> None:
    assert visible("\x1b[2J\u202eevil\r") == "\\x1b[2J\\u202eevil\\r"
    assert visible("Ünïcødé 日本\nline") == "Ünïcødé 日本\nline"


def test_one_line_joins_and_cuts() -> None:
    assert one_line("a\n  b") == "a b"
    assert one_line({"a": [1]}) == '{"a": [1]}'
    assert one_line("x" * 300, limit=10) == "xxxxxxxxx…"
