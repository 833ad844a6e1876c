"""The agents `writer` and `reviewer`, on what the other agents found in real repositories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator import Fatal
from workers import folders, history, languages, repository, reviewer, todos, writer
from workers.report import SECTIONS

if TYPE_CHECKING:
    from conftest import Repo

HARD_NAME = "ünï cöde/a `b` | c\nd <i> \\| .py"


def write_report(repo: Repo, report: Path) -> dict[str, int]:
    """Run all agents in turn, as the workflow does; returns the numbers for the reviewer."""
    checkout = repository.open_checkout(repo.path)
    found = history.summary(checkout.root, checkout.head)
    counted = languages.count(checkout.root)
    marked = todos.find(checkout.root)
    tops = folders.list_folders(checkout.root, checkout.head)
    written = writer.write(
        checkout=checkout,
        history=found,
        languages=counted,
        todos=marked,
        hot_spots=history.hot_spots(checkout.root, checkout.head),
        large_files=repository.large_files(checkout.root),
        folders=[folders.summarize(checkout.root, folder) for folder in tops],
        report=str(report),
    )
    assert written.report == str(report.absolute())
    return {
        "Commits": found.commits,
        "Authors": len(found.authors),
        "Tracked files": counted.files,
        "Markers": marked.total,
    }


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "report.md"


def test_hostile_names_break_no_table(repo: Repo, report: Path) -> None:
    repo.write(HARD_NAME, "# TODO a | b `c` <script>\n")
    repo.write("a|b/-x", "FIXME\n")
    repo.commit(author="[Eve](x) | `*_<b> <eve@example.org>")
    numbers = write_report(repo, report)
    assert numbers == {"Commits": 1, "Authors": 1, "Tracked files": 2, "Markers": 2}
    assert reviewer.check(str(report), numbers).model_dump() == {"ok": True, "findings": []}
    text = report.read_text(encoding="utf-8")
    assert "<script>" not in text.replace("<code>", "")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(SECTIONS)


def test_a_repository_without_commits_has_a_report(repo: Repo, report: Path) -> None:
    numbers = write_report(repo, report)
    review = reviewer.check(str(report), numbers)
    assert set(numbers.values()) == {0}
    assert "Authors: nothing found" in review.findings
    assert "before its first commit" in report.read_text(encoding="utf-8")


def test_long_lists_end_with_how_many_more(repo: Repo, report: Path) -> None:
    repo.grow(30, authors=[b"A%d" % number for number in range(30)], apart_s=31 * 86400)
    repo.write("many", "TODO\n" * 51)
    repo.commit()
    assert reviewer.check(str(report), write_report(repo, report)).ok
    text = report.read_text(encoding="utf-8")
    for note in ("6 earlier months with commits.", "11 more authors.", "1 more line."):
        assert note in text


def test_the_same_facts_give_the_same_file_and_leave_no_draft(repo: Repo, report: Path) -> None:
    repo.commit()
    write_report(repo, report)
    before = report.read_bytes()
    write_report(repo, report)
    assert report.read_bytes() == before
    assert [file.name for file in report.parent.iterdir()] == ["report.md"]


def test_a_report_that_cannot_be_written_is_one_line_and_keeps_the_old(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "taken.md").mkdir()
    (tmp_path / "file").write_text("old")
    for path in (tmp_path / "taken.md", tmp_path / "file" / "x.md", Path(f"{tmp_path}/nul\0.md")):
        with pytest.raises(Fatal, match="cannot be written") as raised:
            write_report(repo, path)
        assert "\n" not in str(raised.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkout", "file", "taken.md"]


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("## Folders", "## Fodlers", "no section 'Folders'; unknown section 'Fodlers'"),
        ("| Commits       |      1 |", "| Commits       |      2 |", "Commits should be 1, the summary says 2"),
        ("| Commits       |      1 |\n", "", "Commits should be 1, the summary says nothing"),
        ("| a.py |", "| a\n.py |", "breaks its table"),
        ("`a.py` |", "`a|.py` |", "breaks its table"),
    ],
)
def test_a_report_with_a_mistake_fails_the_review(repo: Repo, report: Path, old: str, new: str, mistake: str) -> None:
    repo.write("a.py", "# TODO\n")
    repo.commit()
    numbers = write_report(repo, report)
    text = report.read_text(encoding="utf-8").replace("`a.py`", "a.py" if old == "| a.py |" else "`a.py`")
    assert old in text
    report.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(Fatal, match=mistake) as raised:
        reviewer.check(str(report), numbers)
    assert "\n" not in str(raised.value)


def test_a_report_that_is_gone_fails_the_review(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="cannot be read"):
        reviewer.check(str(tmp_path / "absent.md"), {})
