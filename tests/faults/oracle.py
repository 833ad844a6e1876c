"""What senders and handlers saw, as fsynced JSON lines in files of their own. Never in Redis: it is what is tested.

A line is `{what, key, at_s, pid, ...}`. `key` names one message or run; `at_s` is the monotonic clock, which all
processes of a machine share. Senders write `try`, `accepted`, `indeterminate`, `refused`; handlers `start`,
`effect`, `end`; whoever breaks something writes `fault` and `healed`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

FOLDER = "FAULTS_ORACLE"  # name of the variable that tells the workers where to write

Line = dict[str, Any]


class Pen:
    """Writes the lines of one thread. A kill leaves whole lines: each is one write, and on disk before it returns.

    Args:
        folder: of the test.
        role: the beginning of the file's name.
    """

    def __init__(self, folder: Path, role: str) -> None:
        name = f"{role}-{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}.jsonl"
        self._file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, what: str, key: str, **fields: Any) -> None:
        line = {"what": what, "key": key, "at_s": time.monotonic(), "pid": os.getpid(), **fields}
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


_own = threading.local()


def handler_pen() -> Pen:
    """The pen of this thread of this worker process; a forked child gets a new one."""
    if getattr(_own, "pid", None) != os.getpid():
        _own.pid, _own.pen = os.getpid(), Pen(Path(os.environ[FOLDER]), "handler")
    return _own.pen  # type: ignore[no-any-return]


def read_lines(folder: Path) -> list[Line]:
    """Every whole line of a folder, by time. The last line of a file whose machine lost its power may be cut."""
    return sorted(_lines(folder), key=lambda line: line["at_s"])


def _lines(folder: Path) -> Iterator[Line]:
    for file in sorted(folder.glob("*.jsonl")):
        for text in file.read_bytes().split(b"\n")[:-1]:
            yield json.loads(text)


@dataclass
class Try:
    """One run of a handler: which item (`key`, and `step` in a run), in which process, and how far it came."""

    key: str
    step: str
    pid: int
    attempt: int
    start_s: float
    effect_s: float | None = None
    end_s: float | None = None
    gave: Any = None


@dataclass
class Fate:
    """What its sender knows of one message or run. `id` is what `send` or `submit` gave."""

    key: str
    kind: str
    tried_s: float
    id: str | None = None
    accepted_s: float | None = None
    indeterminate: int = 0
    refused: list[str] = field(default_factory=list)


class Book:
    """All lines of a test, read once."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines

    @classmethod
    def read(cls, folder: Path) -> Book:
        return cls(read_lines(folder))

    @cached_property
    def fates(self) -> dict[str, Fate]:
        """key -> what its sender knows."""
        found: dict[str, Fate] = {}
        for line in self.lines:
            key, what = line["key"], line["what"]
            if what == "try":
                found.setdefault(key, Fate(key, line["kind"], line["at_s"]))
            elif what == "accepted":
                found[key].id, found[key].accepted_s = line["id"], line["at_s"]
            elif what == "indeterminate":
                found[key].indeterminate += 1
            elif what == "refused":
                found[key].refused.append(line["error"])
        return found

    @cached_property
    def tries(self) -> list[Try]:
        """Every run of a handler, by its start."""
        found: list[Try] = []
        open_ones: dict[tuple[Any, ...], Try] = {}
        for line in self.lines:
            if line["what"] not in ("start", "effect", "end"):
                continue
            place = (line["key"], line["step"], line["pid"], line["attempt"])
            if line["what"] == "start":
                open_ones[place] = Try(line["key"], line["step"], line["pid"], line["attempt"], line["at_s"])
                found.append(open_ones[place])
            elif line["what"] == "effect":
                open_ones[place].effect_s = line["at_s"]
            else:
                open_ones[place].end_s, open_ones[place].gave = line["at_s"], line.get("gave")
        return found

    @cached_property
    def tries_of(self) -> dict[tuple[str, str], list[Try]]:
        """(key, step) -> its tries, by their start."""
        found: dict[tuple[str, str], list[Try]] = defaultdict(list)
        for one in self.tries:
            found[one.key, one.step].append(one)
        return found

    @cached_property
    def faults(self) -> list[Line]:
        """What was broken and healed, in order."""
        return [line for line in self.lines if line["what"] in ("fault", "healed")]
