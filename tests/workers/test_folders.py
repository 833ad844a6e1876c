"""The agent `folders`: the folders at the top, and one of them read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from workers.facts import Folder
from workers.folders import list_folders, summarize

if TYPE_CHECKING:
    from conftest import Repo


def test_top_folders_come_by_name_with_their_commits(repo: Repo) -> None:
    repo.write("src/a/one.py", "1\n")
    repo.write("README.md", "1\n")
    repo.commit()
    repo.write("src/b/two.py", "1\n")
    repo.write("docs ü/x\n|`.md", "1\n")
    repo.commit()
    repo.write("untracked/x", "1\n")
    assert list_folders(repo.path, repo.head) == [Folder(name="docs ü", commits=1), Folder(name="src", commits=2)]


def test_the_largest_folders_are_kept_when_there_are_too_many(repo: Repo) -> None:
    for name, files in {"a": 1, "b": 3, "c": 2}.items():
        for number in range(files):
            repo.write(f"{name}/{number}", "1\n")
    repo.commit()
    assert [folder.name for folder in list_folders(repo.path, repo.head, first=2)] == ["b", "c"]


def test_without_commits_a_folder_has_none(repo: Repo) -> None:
    repo.write("src/a", "1\n")
    repo.track()
    assert list_folders(repo.path, None) == [Folder(name="src", commits=0)]


def test_without_folders_the_list_is_empty(repo: Repo) -> None:
    repo.write("README.md", "1\n")
    repo.commit()
    assert list_folders(repo.path, repo.head) == []


@pytest.mark.parametrize("name", ["src", "-x", ":(glob)*", "ünï\n| `x`"])
def test_one_folder_is_read_and_no_other(repo: Repo, name: str) -> None:
    repo.write(f"{name}/deep/a.py", "# TODO FIXME\n\nx")
    repo.write(f"{name}/b.bin", b"\0TODO\n")
    repo.write(f"{name} and more/c.py", "# TODO\n")
    repo.write(f"deep/{name}/d.py", "# TODO\n")
    repo.track()
    found = summarize(repo.path, Folder(name=name, commits=7))
    assert (found.files, found.lines, found.todos, found.commits) == (2, 3, 1, 7)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system refuses names that are no UTF-8")
def test_a_folder_whose_name_is_no_utf8_is_found_again(repo: Repo) -> None:
    repo.write(b"caf\xe9/a.py", "1\n")
    repo.commit()
    (folder,) = list_folders(repo.path, repo.head)
    assert folder == Folder(name="caf\ufffd", commits=1)
    assert summarize(repo.path, folder).lines == 1
