"""`docs/patterns.md` is complete: it counts right, names every file, and shows a trace for whatever it claims."""

from __future__ import annotations

import re

from tests.patterns.test_patterns import TRACES
from tests.patterns.traces import DOCUMENT, FOLDER, documented, file_of, is_child, sections

ROW = re.compile(r"^\| (\d+)(\*?) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ?([^|]*?) ?\|$", re.MULTILINE)
ROWS = {int(number): (bool(star), rating, file) for number, star, _, rating, _, file in ROW.findall(DOCUMENT)}
CLAIMED = {number for number, (_, rating, _) in ROWS.items() if rating == "+"}
LIVE = {19, 20, 23, 24, 25, 26, 27, 28, 29, 32, 35, 43}  # their traces are compared in test_live.py


def test_the_table_has_all_43_patterns_and_marks_the_first_20() -> None:
    assert list(ROWS) == list(range(1, 44))
    assert [number for number, (star, _, _) in ROWS.items() if star] == list(range(1, 21))
    assert {rating for _, rating, _ in ROWS.values()} <= {"+", "+/-", "-"}


def test_the_counts_are_those_of_the_table() -> None:
    ratings = [rating for _, rating, _ in ROWS.values()]
    counts = f"**{ratings[:20].count('+')} of the 20** original patterns and **{ratings.count('+')} of all 43**"
    rest = f"{ratings.count('+/-')} are supported in part, {ratings.count('-')} are not"
    assert counts in DOCUMENT
    assert rest in DOCUMENT


def test_every_file_is_in_the_table_and_the_other_way_round() -> None:
    linked = {name for _, _, files in ROWS.values() for name in re.findall(r"workflows/patterns/([^)]+)\)", files)}
    assert linked == {file.name for file in FOLDER.iterdir()}
    assert {number for number, (_, _, file) in ROWS.items() if file} == CLAIMED
    for number in CLAIMED:
        assert file_of(number).name in ROWS[number][2]


def test_every_claim_has_a_section_with_its_file_and_traces_and_nothing_else_has() -> None:
    assert set(sections()) == CLAIMED
    for number, text in sections().items():
        assert file_of(number).name in text
        tested = [trace for trace in TRACES if trace[0] == number]
        assert len(documented(number)) == len(tested) + (number in LIVE) > 0, number


def test_every_file_says_which_pattern_it_shows() -> None:
    for file in FOLDER.iterdir():
        number = int(file.name[3:5])
        first, second = file.read_text("utf-8").splitlines()[:2]
        assert first.startswith(f"# Child of WCP-{number}" if is_child(file) else f"# WCP-{number} "), file.name
        assert second == f"name: {file.stem.replace('_', '-')}"
