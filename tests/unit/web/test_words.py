"""Times and values in words."""

from __future__ import annotations

from orchestrator.web.words import age, brief, moment, whole


def test_ages() -> None:
    assert [age(at, 100_000) for at in (None, 100_500, 99_500, 95_400, 40_000)] == [
        "", "just now", "just now", "4 s ago", "1 min ago",
    ]  # fmt: skip


def test_moments_are_in_utc() -> None:
    assert moment(1_767_225_600_123) == "2026-01-01 00:00:00 UTC"
    assert moment(None) == ""


def test_values_are_cut_in_tables_and_whole_on_their_page() -> None:
    assert brief({"content": "a\n b"}) == "a b"
    assert brief({"x": "é"}) == '{"x": "é"}'
    assert len(brief("a" * 1000)) == 140
    assert whole({"content": "a\n b"}) == "a\n b"
    assert whole({"x": [1]}) == '{\n  "x": [\n    1\n  ]\n}'
