"""The agent `repository`: what is a checkout, what is none, and which files are large."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator import Fatal
from workers.history import summary
from workers.repository import large_files, open_checkout

if TYPE_CHECKING:
    from conftest import Repo


def test_a_checkout_is_opened_with_branch_and_head(repo: Repo) -> None:
    repo.commit()
    found = open_checkout(repo.path)
    assert (found.root, found.name, found.branch, found.head) == (repo.path, "checkout", "main", repo.head)
    assert not found.shallow


def test_a_folder_inside_stands_for_the_whole_checkout(repo: Repo) -> None:
    repo.write("deep/er/file", "x\n")
    assert open_checkout(str(repo.root / "deep" / "er")).root == repo.path


def test_a_relative_path_starts_in_the_working_directory(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo.root.parent)
    assert open_checkout("checkout").root == repo.path


def test_a_repository_without_commits_has_no_head(repo: Repo) -> None:
    assert open_checkout(repo.path).head is None
    assert open_checkout(repo.path).branch == "main"


def test_a_detached_head_has_no_branch(repo: Repo) -> None:
    repo.commit()
    repo.git("checkout", "--quiet", "--detach")
    assert open_checkout(repo.path).branch is None


def test_a_shallow_clone_is_named_so(repo: Repo, tmp_path: Path) -> None:
    repo.grow(3)
    clone = tmp_path / "clone"
    repo.git("clone", "--quiet", "--depth=1", f"file://{repo.path}", str(clone))
    assert open_checkout(str(clone)).shallow


def test_hard_names_of_the_folder_are_kept(new_repo: Callable[[Path], Repo], tmp_path: Path) -> None:
    hard = new_repo(tmp_path / "-ünï cöde `x` | y\nz'\"")
    assert open_checkout(hard.path).root == hard.path


def test_what_is_no_checkout_fails_with_one_line(repo: Repo, tmp_path: Path) -> None:
    repo.write("file", "x")
    repo.git("clone", "--quiet", "--bare", repo.path, str(tmp_path / "bare.git"))
    (tmp_path / "plain folder").mkdir()
    wrong = {
        str(tmp_path / "plain folder"): "plain folder is not a git repository$",
        str(tmp_path / "absent"): "absent is not a git repository: there is no such folder$",
        str(repo.root / "file"): "file is not a git repository: it is a file$",
        str(tmp_path / "bare.git"): "is a bare git repository",
        str(repo.root / ".git"): "lies inside a .git folder",
        str(tmp_path / "two\nlines"): r"two\\nlines' is not a git repository",
        "": "'' is no path",
        "a\0b": "is no path",
    }
    for path, message in wrong.items():
        with pytest.raises(Fatal, match=message) as raised:
            open_checkout(path)
        assert "\n" not in str(raised.value)


def test_git_variables_of_a_hook_do_not_redirect(
    repo: Repo, new_repo: Callable[[Path], Repo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = new_repo(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    assert open_checkout(repo.path).root == repo.path


def test_the_configuration_of_a_checkout_starts_no_program(repo: Repo, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{trap}'\n")
    program.chmod(0o755)
    repo.write("a.py", "x = 1\n")
    repo.commit()
    for name in ("core.fsmonitor", "core.pager", "gpg.program", "diff.external", "core.sshCommand"):
        repo.git("config", name, str(program))
    repo.git("config", "log.showSignature", "true")
    raw = repo.git("cat-file", "commit", "HEAD")
    signed = raw.replace(b"\n\n", b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n x\n -----END PGP SIGNATURE-----\n\n", 1)
    head = repo.git("hash-object", "-t", "commit", "-w", "--stdin", feed=signed).decode().strip()
    repo.git("-c", "core.fsmonitor=false", "update-ref", "HEAD", head)
    assert open_checkout(repo.path).head == head
    assert summary(repo.path, head).commits == 1
    assert [file.path for file in large_files(repo.path)] == ["a.py"]
    assert not trap.exists()


def test_a_missing_git_is_said_in_one_line(repo: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Fatal, match="git is not installed"):
        open_checkout(repo.path)


def test_large_files_come_largest_first(repo: Repo) -> None:
    repo.write("small", "x")
    repo.write("middle", "x" * 100)
    repo.write("big.bin", b"\0" * 1000)
    repo.write("empty")
    os.symlink("big.bin", repo.root / "link")
    repo.write("untracked.tmp", "x" * 5000)
    repo.write(".gitignore", "*.tmp")
    repo.track()
    assert [(file.path, file.size_bytes) for file in large_files(repo.path, first=2)] == [
        ("big.bin", 1000),
        ("middle", 100),
    ]
    assert {file.path for file in large_files(repo.path)} == {"big.bin", "middle", "small", ".gitignore"}
