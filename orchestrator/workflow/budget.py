"""How much work an expression can be at most, told beforehand from its text and the size of its data.

The unit is one element that CEL copies, about 60 ns. docs/decisions/0002-expressions.md has the measurements; the
estimate is an upper bound, not a forecast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.workflow.cel_source import CelSource
from orchestrator.workflow.functions import GROWING, MAX_RANGE, QUADRATIC

INLINE_UNITS = 500_000
CONVERSION_UNITS = 30
BYTES_PER_UNIT = 50


@dataclass(slots=True)
class Size:
    """What some data amounts to: `units` to copy it once, its longest list (or map) and its longest string."""

    units: int = 0
    longest_list: int = 1
    longest_string: int = 1

    def add(self, value: Any) -> None:
        """Count a value in; stops counting where the data is too large anyway."""
        if self.units > INLINE_UNITS:
            return
        self.units += 1
        if isinstance(value, str):
            self.longest_string = max(self.longest_string, len(value))
            self.units += len(value) // BYTES_PER_UNIT
        elif isinstance(value, Mapping):
            self.longest_list = max(self.longest_list, len(value))
            for key, item in value.items():
                self.add(key)
                self.add(item)
        elif isinstance(value, (list, tuple)):
            self.longest_list = max(self.longest_list, len(value))
            for item in value:
                self.add(item)


@dataclass(frozen=True, slots=True)
class Shape:
    """What makes an expression expensive, counted once when it is compiled."""

    occurrences: int
    pluses: int
    macro_depth: int
    growing: int
    quadratic: int
    splits: bool
    ranges: bool
    scanning: bool
    literals: tuple[int, int]

    @classmethod
    def of(cls, source: CelSource) -> Shape:
        functions = source.functions
        strings = max((len(text) for text in source.strings), default=1)
        return cls(
            occurrences=len(source.paths) + len(functions) + len(source.macros) + 1,
            pluses=source.count("+"),
            macro_depth=source.macro_depth,
            growing=sum(source.count(name.rpartition(".")[2]) for name in functions if name in GROWING),
            quadratic=sum(source.count(name.rpartition(".")[2]) for name in functions if name in QUADRATIC),
            splits="split" in functions or "flatten" in functions,
            ranges="lists.range" in functions,
            scanning=source.scanning,
            literals=(source.count(",") + 1, strings),
        )

    def units(self, data: Size) -> int:
        """The most copying that evaluating over this data can cause.

        CEL copies the list made so far for each item of a `map` or `filter`, and every value that is named.
        """
        string = max(data.longest_string, self.literals[1]) * (1 + self.pluses)
        string = int(string ** (1 + self.growing))
        longest = max(data.longest_list, self.literals[0]) * (1 + self.pluses)
        if self.splits:
            longest = max(longest, string, data.units)
        if self.ranges:
            longest = max(longest, MAX_RANGE)
        copied = data.units + sum(self.literals) // BYTES_PER_UNIT
        if self.growing:
            copied += string // BYTES_PER_UNIT
        if self.splits or self.ranges:
            copied += longest
        once = copied * self.occurrences * (1 + self.pluses)
        rounds = self.quadratic if self.scanning else self.macro_depth + self.quadratic
        converted = data.units + (MAX_RANGE if self.ranges else 0)
        return converted * CONVERSION_UNITS + once * int(longest**rounds)
