"""How much work an expression can be at most, told beforehand from its text and the size of its data.

The unit is one element that CEL copies, about 60 ns. docs/decisions/0002-expressions.md has the measurements; the
estimate is an upper bound, not a forecast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.workflow.cel_source import CelSource
from orchestrator.workflow.functions import GROWING, LETTERWISE, MAX_RANGE, QUADRATIC

INLINE_UNITS = 500_000
CONVERSION_UNITS = 30
BYTES_PER_UNIT = 50
UNITS_PER_LETTER = 5


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


def lighter(left: int, value: Any) -> int:
    """What is left of so many bytes after a value, about as long as its JSON; negative: it does not fit."""
    stack = [value]
    while stack and left >= 0:
        item = stack.pop()
        left -= len(item) + 2 if isinstance(item, str) else 4
        if isinstance(item, Mapping):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
    return left


@dataclass(frozen=True, slots=True)
class Shape:
    """What makes an expression expensive, counted once when it is compiled.

    `literals` are the longest list and the longest string that the text itself may hold.
    """

    occurrences: int
    pluses: int
    rounds: int
    copies: int
    growing: int
    letterwise: int
    flattens: int
    splits: bool
    ranges: bool
    literals: tuple[int, int]

    @classmethod
    def of(cls, source: CelSource) -> Shape:
        functions = source.functions
        growing, quadratic = _calls(source, GROWING), _calls(source, QUADRATIC)
        return cls(
            occurrences=len(source.paths) + len(functions) + len(source.macros) + 1,
            pluses=source.count("+"),
            rounds=quadratic + (0 if source.scanning else source.macro_depth),
            copies=source.copies,
            growing=growing,
            letterwise=_calls(source, LETTERWISE),
            flattens=len(source.macros) + source.count("flatten") if "flatten" in functions else 0,
            splits="split" in functions,
            ranges="lists.range" in functions,
            literals=(source.count(",") + 1, max((len(text) for text in source.strings), default=1)),
        )

    @property
    def _light(self) -> bool:
        """Whether it is like nearly all of them: nothing in it grows with the square of anything."""
        return not (self.rounds or self.growing or self.letterwise or self.flattens or self.splits or self.ranges)

    def units(self, data: Size, inside: int = 0) -> int:
        """The most copying that evaluating over this data can cause.

        CEL copies the list made so far for each item of a `map` or `filter`, and every value that is named.

        Args:
            inside: units of what the bodies of comprehensions read; the result may hold it once for each item.
        """
        if self._light:
            return data.units * (CONVERSION_UNITS + self.occurrences * (1 + self.pluses) * self.copies)
        longest = max(data.longest_list, self.literals[0]) * (1 + self.pluses)
        string = max(data.longest_string, self.literals[1]) * (1 + self.pluses)
        copied = data.units + sum(self.literals) // BYTES_PER_UNIT
        converted = data.units
        if self.growing:
            string = int(max(string, longest) ** (1 + self.growing))
            copied += string // BYTES_PER_UNIT
        copied += string * self.letterwise * UNITS_PER_LETTER
        if self.flattens:
            longest = int(longest ** (1 + self.flattens))
        if self.splits:
            longest = max(longest, string)
        if self.ranges:
            longest = max(longest, MAX_RANGE)
            converted += MAX_RANGE
        if self.flattens or self.splits or self.ranges:
            copied += longest
        once = (copied + inside * longest) * self.occurrences * (1 + self.pluses) * self.copies
        return converted * CONVERSION_UNITS + once * int(longest**self.rounds)


def _calls(source: CelSource, names: frozenset[str]) -> int:
    return sum(source.count(name.rpartition(".")[2]) for name in source.functions if name in names)
