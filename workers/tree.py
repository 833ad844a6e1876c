"""The tracked files of a checkout: their names from git's index, their content from the disk.

Content is read in blocks of whole lines, each file once per pass. Binary files, symbolic links, submodules and files
that are tracked but deleted have a name and no content.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from workers.git import git, shown

_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 8192
_MARKERS = (b"TODO", b"FIXME", b"XXX")
_CANDIDATE = re.compile(b"|".join(_MARKERS))
_MARKER = re.compile(r"\b(?:TODO|FIXME|XXX)\b")


@dataclass(frozen=True, slots=True)
class TrackedFile:
    """One path of the index. `regular` is false for symbolic links and submodules."""

    raw: bytes
    regular: bool

    @property
    def path(self) -> str:
        return shown(self.raw)

    @property
    def top(self) -> str | None:
        """The folder at the top of the checkout that holds the file; None for a file at the top itself."""
        folder, slash, _ = self.raw.partition(b"/")
        return shown(folder) if slash else None


class Tree:
    """A checkout's tracked files, in git's order (by bytes). Raises Fatal where git does."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(os.fsencode(root))
        self._real_folders: dict[bytes, bool] = {}
        self.files = list(_tracked(root))

    def size_bytes(self, file: TrackedFile) -> int | None:
        """The file's size on disk; None if it has no content there."""
        found = self._stat(file)
        return found.st_size if found else None

    def blocks(self, file: TrackedFile) -> Iterator[bytes]:
        """The text of the file in blocks of whole lines. Nothing for what is no readable text, `b""` if it is empty."""
        if self._stat(file) is None:
            return
        try:
            # Without blocking: the path may have become a pipe since.
            descriptor = os.open(self._path(file), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return
        with open(descriptor, "rb") as stream:
            block = stream.read(_BLOCK_BYTES)
            if b"\0" in block[:_HEAD_BYTES]:
                return
            while True:
                yield block + stream.readline()
                block = stream.read(_BLOCK_BYTES)
                if not block:
                    return

    def _stat(self, file: TrackedFile) -> os.stat_result | None:
        if not file.regular or not self._is_real(os.path.dirname(file.raw)):
            return None
        try:
            found = os.lstat(self._path(file))
        except OSError:
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def _is_real(self, folder: bytes) -> bool:
        # A folder that was replaced by a symbolic link would lead out of the checkout.
        if folder not in self._real_folders:
            path = os.path.join(self._root, folder) if folder else self._root
            self._real_folders[folder] = os.path.realpath(path) == path
        return self._real_folders[folder]

    def _path(self, file: TrackedFile) -> bytes:
        return os.path.join(self._root, file.raw)


def lines_in(block: bytes) -> int:
    """Lines of a block; the last one counts with or without its newline."""
    return block.count(b"\n") + (not block.endswith(b"\n") and bool(block))


def markers_in(block: bytes) -> Iterator[tuple[int, str]]:
    """The lines that hold a marker as a whole word: their number in the block, from 1, and their text."""
    if not any(marker in block for marker in _MARKERS):  # ten times as fast as the expression
        return
    at, number = 0, 1
    while found := _CANDIDATE.search(block, at):
        start = block.rfind(b"\n", 0, found.start()) + 1
        end = block.find(b"\n", found.end())
        end = len(block) if end < 0 else end
        number += block.count(b"\n", at, start)
        line = shown(block[start:end])
        # What counts as a letter is a question for text, not for bytes: `ÄTODO` is one word.
        if _MARKER.search(line):
            yield number, line
        at = end


def _tracked(root: str) -> Iterator[TrackedFile]:
    seen = set()
    for entry in git(root, "ls-files", "--stage", "-z").split(b"\0"):
        head, _, raw = entry.partition(b"\t")
        # A path in the middle of a merge has up to three entries.
        if raw and raw not in seen:
            seen.add(raw)
            yield TrackedFile(raw, regular=head.startswith(b"100"))
