"""What was accepted: ids out of files that somebody else kept, and out of the server's own journal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.events import RUN_ENDS
from orchestrator.records import JournalEntry

ENDS = RUN_ENDS | {"message.acknowledged", "message.failed", "message.expired", "message.dead"}
OWN = "the journal"
_LONGEST_ID = 200


@dataclass(slots=True)
class Accepted:
    """One id. `kind` is run or message, or empty where only the id is known; `end` the event that ended it."""

    kind: str = ""
    end: str = ""
    end_ms: int = 0


@dataclass(slots=True)
class Ledger:
    """The ids of one source, and the entries of the journal that it has, by their ids on the server."""

    source: str
    accepted: dict[str, Accepted] = field(default_factory=dict)
    entries: set[str] = field(default_factory=set)

    def add(self, entry_id: str, name: str, data: dict[str, str]) -> None:
        """Take note of an entry of the journal: of whatever it names, and of an end."""
        self.entries.add(entry_id)
        for kind in ("run", "message"):
            if kind in data:
                known = self.accepted.setdefault(data[kind], Accepted(kind))
                known.kind = kind
                if name in ENDS and name.startswith(kind):
                    known.end, known.end_ms = name, int(entry_id.partition("-")[0])

    def add_all(self, entries: Iterable[JournalEntry]) -> None:
        """Take note of entries as the server has them."""
        for entry in entries:
            self.add(entry.id, entry.name, entry.data)


def read_file(path: str) -> Ledger:
    """A file of ids, one a line, or of the lines of `orchestrator sink file`, or of both.

    A last line that was cut off counts for nothing.

    Raises:
        WorkflowInvalid: the file cannot be read, or a line is neither.
    """
    ledger = Ledger(path)
    problems: list[Problem] = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not _take(ledger, line.strip()) and line.endswith("\n"):
                    message = "is neither an id nor a line of `orchestrator sink file`"
                    problems.append(Problem(path, number, "", message))
                    break
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(path, 0, "", str(getattr(error, "strerror", None) or error)))
    if problems:
        raise WorkflowInvalid(problems)
    return ledger


def _take(ledger: Ledger, line: str) -> bool:
    """Whether the line can be understood."""
    if not line.startswith("{"):
        if line:
            ledger.accepted.setdefault(line, Accepted())
        return len(line) <= _LONGEST_ID and len(line.split()) <= 1
    try:
        entry = json.loads(line)
        ledger.add(entry["id"], entry["name"], entry)
    except (ValueError, KeyError, RecursionError):
        return False
    return True
