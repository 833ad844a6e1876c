"""The agent `todos`: what is a marker, and where it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from workers.todos import find
from workers.tree import lines_in, markers_in

if TYPE_CHECKING:
    from conftest import Repo


@pytest.mark.parametrize(
    ("line", "is_marker"),
    [
        ("# TODO: later", True),
        ("TODO", True),
        ("FIXME(ada) and XXX and TODO", True),
        ("(XXX)", True),
        ("a-TODO-b", True),
        ("「TODO」", True),
        ("TODOS", False),
        ("aTODO", False),
        ("MY_TODO", False),
        ("TODO_LIST", False),
        ("TODO2", False),
        ("mktemp XXXXXX", False),
        ("ÄTODO", False),
        ("TODOß", False),
        ("todo fixme xxx", False),
        ("TODOS but also a TODO", True),
    ],
)
def test_a_marker_is_a_whole_word_in_capitals(line: str, is_marker: bool) -> None:
    assert bool(list(markers_in(f"{line}\n".encode()))) is is_marker


def test_a_line_counts_once_and_keeps_its_number() -> None:
    block = b"TODO FIXME TODO\n\nnothing\nXXX\nTODO TODO"
    assert [number for number, _ in markers_in(block)] == [1, 4, 5]
    assert lines_in(block) == 5


def test_places_have_path_line_and_text(repo: Repo) -> None:
    repo.write("a b/ünï\n|`.py", "x = 1\n  # TODO ünï | `x`\r\n")
    repo.write("latin1.txt", b"\n\nFIXME J\xf6rg")
    repo.track()
    found = find(repo.path)
    assert found.total == 2
    assert [(place.path, place.line, place.text) for place in found.places] == [
        ("a b/ünï\n|`.py", 2, "# TODO ünï | `x`"),
        ("latin1.txt", 3, "FIXME J\ufffdrg"),
    ]


def test_only_tracked_text_on_disk_is_searched(repo: Repo) -> None:
    repo.write("binary", b"\0 TODO\n")
    repo.write("gone", "TODO\n")
    repo.write("changed", "nothing yet\n")
    os.symlink("changed", repo.root / "link")
    repo.write("empty")
    repo.track()
    repo.write("changed", "TODO on disk\n")
    repo.write("untracked", "TODO\n")
    (repo.root / "gone").unlink()
    assert [(place.path, place.text) for place in find(repo.path).places] == [("changed", "TODO on disk")]


def test_all_lines_count_but_only_the_first_places_are_listed(repo: Repo) -> None:
    repo.write("many", "# TODO\n" * 300 + "TODO " + "x" * 1000)
    repo.track()
    found = find(repo.path, first=301)
    assert (found.total, len(find(repo.path, first=2).places)) == (301, 2)
    assert len(found.places[-1].text) == 160
    assert found.places[-1].text.endswith("…")


def test_line_numbers_go_on_over_the_blocks_of_a_long_file(repo: Repo) -> None:
    repo.write("long", ("x" * 99 + "\n") * 30_000 + "TODO")
    repo.track()
    assert [place.line for place in find(repo.path).places] == [30_001]
