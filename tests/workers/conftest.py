"""Real git repositories for the tests of the agents, made in `tmp_path` and independent of the user's configuration."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ADA = "Ada <ada@example.org>"


class Repo:
    """A repository that a test fills."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        self.git("init", "--quiet", "--template=", "--initial-branch=main")

    def git(self, *arguments: str | bytes, feed: bytes = b"") -> bytes:
        identity = ["-c", "user.name=Committer", "-c", "user.email=committer@example.org"]
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, input=feed, check=True, capture_output=True).stdout

    def write(self, name: str | bytes, content: str | bytes = "") -> bytes:
        path = os.path.join(os.fsencode(self.root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        return path

    def track(self) -> None:
        """Put everything in the working tree into the index; enough where no history is read."""
        self.git("add", "--all")

    def commit(self, *, author: str = ADA, date: str = "2026-01-15T12:00:00+01:00") -> None:
        """Commit everything in the working tree."""
        self.track()
        self.git("commit", "--quiet", "--allow-empty", "--message=change", f"--author={author}", f"--date={date}")

    def grow(self, commits: int, *, authors: Sequence[bytes] = (b"Ada",), apart_s: int = 1) -> None:
        """Add many commits at once, each of which rewrites one of ten files in one of two folders."""
        stream = []
        for number in range(commits):
            author = authors[number % len(authors)]
            who = b"%s <a@example.org> %d +0000" % (author, 1_700_000_000 + number * apart_s)
            content = b"x = %d\n" % number
            place = b"dir%d/file%d.py" % (number % 2, number % 10)
            change = b"M 100644 inline %s\ndata %d\n%s\n" % (place, len(content), content)
            stream.append(b"commit refs/heads/main\nauthor %s\ncommitter %s\ndata 1\nc\n%s" % (who, who, change))
        self.git("fast-import", "--quiet", feed=b"".join(stream))
        self.git("reset", "--quiet", "--hard")

    @property
    def path(self) -> str:
        return str(self.root)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD").decode().strip()


@pytest.fixture(autouse=True)
def _no_git_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


@pytest.fixture
def new_repo() -> Callable[[Path], Repo]:
    return Repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "checkout")
