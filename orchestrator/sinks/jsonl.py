"""`JsonLinesSink`: the journal as a file, one JSON object a line, for `jq`, for archives, for log shippers."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from orchestrator.records import JournalEntry
from orchestrator.sinks.pump import BATCH
from orchestrator.sinks.sink import SinkFailed

_BEGIN = b'{"id": "'  # what every line begins with
_BLOCK = 65_536


class JsonLinesSink:
    """Appends `{"id", "at", "name", ...}` lines to a file that only this user may read, one fsync a batch.

    A last line that a crash has cut off is dropped, and entries that stand at the end already are not written again.

    Raises:
        SinkFailed: the file cannot be written, is something else, or another process writes to it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.name = f"file {self.path}"
        try:
            self._file: IO[bytes] = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b")
        except OSError as error:
            raise SinkFailed(f"{self.path}: {error.strerror or error}") from error
        try:
            self._known = self._take_over()
        except BaseException:
            self._file.close()
            raise

    def write(self, entries: Sequence[JournalEntry]) -> None:
        """Append what is not there yet, and sync."""
        lines = [json.dumps(entry.to_json(), ensure_ascii=False) for entry in entries if entry.id not in self._known]
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            while data:
                data = data[os.write(self._file.fileno(), data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise SinkFailed(f"{self.path}: {error.strerror}") from error

    def close(self) -> None:
        self._file.close()

    def _take_over(self) -> frozenset[str]:
        """Lock the file, drop a torn last line, and return the ids of the lines that may come again."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SinkFailed(f"{self.path}: another process writes to it") from None
        size, tail = self._read_tail()
        *lines, torn = tail.split(b"\n")
        # A file of somebody else is left as it is: nothing is cut off from it, and nothing written to it.
        # NULs: what some file systems leave behind when the power fails.
        ours = all(line.startswith(_BEGIN) for line in lines)
        if not ours or not _BEGIN.startswith(torn.rstrip(b"\0")[: len(_BEGIN)]):
            raise SinkFailed(f"{self.path}: is no journal; name a new file")
        if torn:
            self._file.truncate(size - len(torn))
        try:
            return frozenset(json.loads(line)["id"] for line in lines)
        except ValueError as error:
            raise SinkFailed(f"{self.path}: a line is broken: {error}") from None

    def _read_tail(self) -> tuple[int, bytes]:
        """The size, and the last lines: as many as one write may repeat. The first of them is whole."""
        size = start = self._file.seek(0, os.SEEK_END)
        tail = b""
        while start > 0 and tail.count(b"\n") <= BATCH + 1:
            start = max(0, start - _BLOCK)
            self._file.seek(start)
            tail = self._file.read(min(_BLOCK, size - start)) + tail
        return size, tail if start == 0 else tail.partition(b"\n")[2]
