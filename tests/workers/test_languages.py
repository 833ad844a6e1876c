"""The agent `languages`: which files are text, whose lines are whose."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from workers.languages import count, language_of
from workers.tree import TrackedFile

if TYPE_CHECKING:
    from conftest import Repo


def test_lines_are_counted_by_language(repo: Repo) -> None:
    repo.write("a b.py", "one\ntwo\n")
    repo.write("sub/ünï\n|`.py", "no newline at the end")
    repo.write("crlf.md", "a\r\nb\r\n")
    repo.write("empty.py")
    repo.write("Makefile", "all:\n")
    repo.write("data.unknown", "?\n?\n")
    repo.track()
    found = count(repo.path)
    assert found.lines == {"Python": 3, "Markdown": 2, "Makefile": 1, "Other": 2}
    assert (found.files, found.text_files) == (6, 6)


def test_only_text_on_disk_has_lines_but_all_that_is_tracked_is_a_file(repo: Repo) -> None:
    repo.write("binary.py", b"x\n" * 100 + b"\0")
    repo.write("late zero.py", b"x\n" * 5000 + b"\0")
    repo.write("gone.py", "x\n")
    repo.write("real.py", "x\n")
    os.symlink("real.py", repo.root / "link.py")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    repo.git("add", "binary.py", "late zero.py", "gone.py", "real.py", "link.py")
    repo.write("untracked.py", "x\n")
    (repo.root / "gone.py").unlink()
    found = count(repo.path)
    assert found.lines == {"Python": 5002}  # the last line is the zero byte: past 8 KiB it makes no file binary
    assert (found.files, found.text_files) == (6, 2)


def test_a_folder_replaced_by_a_link_is_not_followed(repo: Repo) -> None:
    repo.write("dir/secret.py", "x\n")
    repo.track()
    os.rename(repo.root / "dir", repo.root.parent / "outside")
    os.symlink(repo.root.parent / "outside", repo.root / "dir")
    assert count(repo.path).lines == {}


def test_a_pipe_in_the_place_of_a_file_does_not_block(repo: Repo) -> None:
    repo.write("a.py", "x\n")
    repo.track()
    (repo.root / "a.py").unlink()
    os.mkfifo(repo.root / "a.py")
    assert count(repo.path).lines == {}


def test_a_file_in_conflict_is_one_file(repo: Repo) -> None:
    repo.write("a.py", "x\n")
    blob = repo.git("hash-object", "-w", "a.py").decode().strip()
    stages = "".join(f"100644 {blob} {stage}\ta.py\n" for stage in (1, 2, 3))
    repo.git("update-index", "--index-info", feed=stages.encode())
    assert (count(repo.path).files, count(repo.path).lines) == (1, {"Python": 1})


def test_a_repository_without_files_has_no_language(repo: Repo) -> None:
    found = count(repo.path)
    assert (found.files, found.text_files, found.lines) == (0, 0, {})


def test_long_files_are_counted_over_all_their_blocks(repo: Repo) -> None:
    repo.write("long.txt", ("x" * 99 + "\n") * 30_000 + "end")
    repo.track()
    assert count(repo.path).lines == {"Text": 30_001}


@pytest.mark.parametrize(
    ("name", "start", "language"),
    [
        (b"x.PY", b"", "Python"),
        (b"a/Dockerfile", b"", "Dockerfile"),
        (b"go.sum", b"", "Go"),
        (b"run", b"#!/usr/bin/env -S python3 -u\n", "Python"),
        (b"run", b"#! /bin/sh\n", "Shell"),
        (b"run", b"#!/opt/strange\n", "Other"),
        (b"run", b"\xff\xfe", "Other"),
        (b"run.weird", b"#!/bin/sh\n", "Other"),
        (b"\xff.rs", b"", "Rust"),
        (b".gitignore", b"", "Other"),
    ],
)
def test_a_language_is_known_by_name_extension_or_interpreter(name: bytes, start: bytes, language: str) -> None:
    assert language_of(TrackedFile(name, regular=True), start) == language
