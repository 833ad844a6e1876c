"""The agent `reviewer`: reads the written report again and compares it with the numbers of the analysts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from orchestrator import Agent, Fatal
from workers.facts import Review
from workers.git import one_line
from workers.report import SECTIONS

reviewer = Agent("reviewer", capabilities=["review"], concurrency=1)

_SUMMARY_ROW = re.compile(r"\| *([^|]+?) *\| *(\d+) *\|")


@reviewer.task
def check(report: str, numbers: dict[str, int]) -> Review:
    """Check that all sections are there, that tables are whole and that the summary states these numbers.

    Args:
        report: path of the report.
        numbers: what the summary must say, such as `{"Commits": 12}`.
    Raises:
        Fatal: the report has mistakes, or cannot be read; one line tells all of them.
    """
    try:
        text = Path(report).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Fatal(f"{one_line(report)} cannot be read: {error}") from None
    sections = _sections(text)
    wrong = [*_missing(sections), *_wrong_numbers(sections.get("Summary", ""), numbers), *_broken_tables(text)]
    if wrong:
        raise Fatal(f"{one_line(report)} did not pass the review: {'; '.join(wrong)}")
    empty = [f"{name}: nothing found" for name, body in sections.items() if body == "None."]
    return Review(ok=True, findings=empty)


def _sections(text: str) -> dict[str, str]:
    """Heading -> body, in the order of the report; what comes before the first heading is left out."""
    _, *parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def _missing(sections: dict[str, str]) -> Iterator[str]:
    yield from (f"no section {name!r}" for name in SECTIONS if not sections.get(name))
    yield from (f"unknown section {name!r}" for name in sections if name not in SECTIONS)


def _wrong_numbers(summary: str, numbers: dict[str, int]) -> Iterator[str]:
    stated = {name: int(number) for name, number in _SUMMARY_ROW.findall(summary)}
    for name, number in numbers.items():
        if stated.get(name) != number:
            yield f"{name} should be {number}, the summary says {stated.get(name, 'nothing')}"


def _broken_tables(text: str) -> Iterator[str]:
    """A table is a run of lines without a blank one; each of its lines has as many pipes as the first."""
    numbered = enumerate(text.split("\n"), start=1)
    for blank, run in groupby(numbered, key=lambda item: not item[1].strip()):
        lines = list(run)
        if blank or not lines[0][1].startswith("|"):
            continue
        pipes = lines[0][1].count("|")
        for number, line in lines:
            if line.count("|") != pipes or not (line.startswith("|") and line.endswith("|")):
                yield f"line {number} breaks its table"
