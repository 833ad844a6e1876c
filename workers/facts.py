"""What the agents tell each other: frozen pydantic models, plain JSON on the wire.

Data only. File names and texts are shown as UTF-8; bytes that are no UTF-8 became U+FFFD, so every value is valid JSON.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """A finding that nobody changes afterwards."""

    model_config = ConfigDict(frozen=True)


class Checkout(Facts):
    """A git checkout. `branch` is None on a detached HEAD, `head` (a commit's hash) None before the first commit."""

    root: str
    name: str
    branch: str | None
    head: str | None
    shallow: bool


class Counted(Facts):
    """A name (of an author or a file) and its number of commits."""

    name: str
    commits: int


class History(Facts):
    """The commits that `head` reaches. `months` is `{"2026-01": commits}`; dates are RFC 3339, the author's."""

    commits: int
    authors: list[str]
    top_authors: list[Counted]
    months: dict[str, int]
    first: str | None
    last: str | None


class Languages(Facts):
    """`files` counts everything tracked, `text_files` what was read; `lines` is `{language: lines}`."""

    files: int
    text_files: int
    lines: dict[str, int]


class Place(Facts):
    """One line of a file; lines count from 1."""

    path: str
    line: int
    text: str


class Todos(Facts):
    """`total` counts all lines with a marker, `places` holds the first of them."""

    total: int
    places: list[Place]


class Sized(Facts):
    """A file and its size on disk."""

    path: str
    size_bytes: int


class Folder(Facts):
    """A folder at the top of the checkout, and how many commits changed something in it."""

    name: str
    commits: int


class FolderSummary(Folder):
    """A top folder, read: tracked files, lines of text, lines with a marker."""

    files: int
    lines: int
    todos: int


class Report(Facts):
    """The absolute path of the written file."""

    report: str


class Review(Facts):
    """A review that passed; `findings` are remarks, not mistakes."""

    ok: bool
    findings: list[str]
