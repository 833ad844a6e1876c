"""The hostile inputs of `inputs.json`, which says what each must get. The error codes in it are proposals: what holds
is one line that says where, what and what to do.

A test says which one it is about with `@pytest.mark.hostile("Y-01")`, and finds it in the fixture `case`.
`test_coverage.py` holds that each has exactly one test, or a reason in `untested.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("inputs.json")


@dataclass(frozen=True)
class Case:
    """One hostile input. `kind` is how `text` gives it: `input`, `build` or `steps`."""

    id: str
    group: str
    expected: str
    kind: str
    text: str

    @property
    def variants(self) -> Sequence[Any]:
        """What is to be tried, one by one: texts, bytes or objects. Only our own file is evaluated here."""
        if self.kind == "input":
            return [self.text]
        made = eval(self.text, {"__builtins__": {"chr": chr, "range": range, "float": float}})
        return made if isinstance(made, list) and not _is_one_object(made) else [made]


def _is_one_object(made: list[Any]) -> bool:
    """A list that contains itself is the object to send, no list of variants."""
    return any(part is made for part in made)


@cache
def all_cases() -> dict[str, Case]:
    """id -> case, as in the file."""
    rows = json.loads(FILE.read_text())["inputs"]
    return {row["id"]: _case(row) for row in rows}


def _case(row: dict[str, str]) -> Case:
    kind = next(kind for kind in ("input", "build", "steps") if kind in row)
    return Case(row["id"], row["group"], row["expected"], kind, row[kind])
