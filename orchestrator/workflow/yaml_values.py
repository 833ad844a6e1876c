"""YAML 1.2 text to JSON values and the line of each of them. Refuses whatever JSON cannot say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from orchestrator.workflow.yaml_events import MAX_DEPTH, events

Json = Any
Place = tuple[str | int, ...]

MAX_VALUES = 200_000  # with every alias counted as often as it is used; 20 for each of 10,000 steps
MAX_LETTERS = 256 << 10  # of one text: a long book chapter
_SEPARATORS = "\n,[{"  # one of them stands beside nearly every value
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNWRITABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CONSTANTS: dict[str, Json] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class YamlMistake(Exception):
    """What is wrong with the text, and in which line (from 1)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass
class Lines:
    """The line of each key and item, by its place in the document.

    `known` is a tree: (number of a list or mapping, key or index in it) -> (number of what is there, its line).
    """

    first: int = 1
    known: dict[tuple[int, str | int], tuple[int, int]] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """The line of a place, or of what is around it."""
        at, line = 0, self.first
        for part in place:
            found = self.known.get((at, part))
            if found is None:
                break
            at, line = found
        return line


def read_yaml(text: str) -> tuple[Json, Lines]:
    """The one document of a text, and its lines.

    Raises:
        YamlMistake: the first thing that is no YAML 1.2, or no JSON value.
    """
    if unwritable := _UNWRITABLE.search(text):
        line = text.count("\n", 0, unwritable.start()) + 1
        raise YamlMistake(line, f"the character U+{ord(unwritable.group()):04X} is not allowed in YAML")
    if _separators(text) > MAX_VALUES:  # before the parser, which takes 10 us for each value
        raise YamlMistake(1, f"has more than {MAX_VALUES:,} lines, commas and brackets")
    builder = _Builder()
    try:
        return builder.build(events(text)), builder.lines
    except YAMLStreamError as error:
        raise YamlMistake(1, f"is no YAML: {str(error).splitlines()[0]}") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.problem, error.context) if part)
        raise YamlMistake(mark.line + 1 if mark else 1, f"is no YAML: {_sentence(what)}") from None
    except YAMLError as error:
        raise YamlMistake(1, f"is no YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise YamlMistake(1, "is nested too deeply") from None


def _separators(text: str) -> int:
    return sum(map(text.count, _SEPARATORS))


def _sentence(what: str) -> str:
    if "\\t" in what or "'\t'" in what:
        return "a tab where spaces are needed"
    return what.replace("\n", " ")


class _Builder:
    def __init__(self) -> None:
        self.lines = Lines()
        self.anchors: dict[str, tuple[Json, int]] = {}
        self.values = 0

    def build(self, events: Iterator[Any]) -> Json:
        self.events = events
        document: Json = None
        count = 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                count += 1
                if count > 1:
                    raise YamlMistake(event.start_mark.line + 1, "a second document; a file holds only one")
                root = next(self.events)
                self.lines.first = root.start_mark.line + 1
                document = self.node(root, 0, 0)
            elif isinstance(event, StreamEndEvent):
                break
        if count == 0:
            raise YamlMistake(1, "is empty")
        return document

    def node(self, event: Any, number: int, depth: int) -> Json:
        """The value of an event. `number`: what `Lines` calls it, if it is a list or a mapping."""
        line = event.start_mark.line + 1
        self._count(line, 1)
        if isinstance(event, AliasEvent):
            return self._alias(event, line)
        if event.tag is not None and str(event.tag) not in ("!",):
            raise YamlMistake(line, f"the tag {_short(str(event.tag))} is not allowed: values are plain JSON")
        if depth > MAX_DEPTH:
            raise YamlMistake(line, f"is nested deeper than {MAX_DEPTH}")
        before = self.values
        if isinstance(event, ScalarEvent):
            value = _scalar(event, line)
        elif isinstance(event, SequenceStartEvent):
            value = self._sequence(number, depth)
        else:
            assert isinstance(event, MappingStartEvent), event
            value = self._mapping(number, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, self.values - before + 1)
        return value

    def _inside(self, number: int, key: str | int, line: int) -> int:
        """Note the line of what is inside a list or mapping. Returns its number."""
        self.lines.known[number, key] = self.values + 1, line
        return self.values + 1

    def _count(self, line: int, more: int) -> None:
        self.values += more
        if self.values > MAX_VALUES:
            raise YamlMistake(line, f"has more than {MAX_VALUES:,} values, aliases counted as often as they are used")

    def _alias(self, event: AliasEvent, line: int) -> Json:
        if event.anchor not in self.anchors:
            raise YamlMistake(line, f"*{_short(event.anchor)} stands for nothing yet: an alias comes after its anchor")
        value, size = self.anchors[event.anchor]
        self._count(line, size)
        return value

    def _sequence(self, number: int, depth: int) -> list[Json]:
        items: list[Json] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self.node(event, self._inside(number, len(items), event.start_mark.line + 1), depth + 1))
        return items

    def _mapping(self, number: int, depth: int) -> dict[str, Json]:
        found: dict[str, Json] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, ScalarEvent):
                raise YamlMistake(line, "a key must be plain text")
            key = _scalar(event, line)
            if not isinstance(key, str):
                raise YamlMistake(line, f"the key {_short(event.value)} is no text; put it in quotes")
            if key in found:
                _, first = self.lines.known[number, key]
                raise YamlMistake(line, f"the key {_short(repr(key))} is there twice; the first one is in line {first}")
            inside = self._inside(number, key, line)
            found[key] = self.node(next(self.events), inside, depth + 1)
        return found


def _scalar(event: ScalarEvent, line: int) -> Json:
    text: str = event.value
    if len(text) > MAX_LETTERS:
        raise YamlMistake(line, f"a text of {len(text):,} characters; the limit is {MAX_LETTERS:,}")
    if _SURROGATE.search(text):
        raise YamlMistake(line, "half of a surrogate pair is no text")
    if event.style is not None or not event.implicit[0]:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        value = int(text, 0 if text[:2] in ("0o", "0x") else 10) if len(text) < 25 else 2**64
        if not -(2**63) <= value < 2**63:
            raise YamlMistake(line, f"{text[:30]} does not fit into 64 bits; put it in quotes if it is text")
        return value
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return number
    elif not _NOT_FINITE.fullmatch(text):
        return text
    raise YamlMistake(line, f"{text[:30]} is no JSON number; put it in quotes if it is text")


def _short(text: str) -> str:
    """At most 60 characters of what stands in the file, for a message."""
    return text if len(text) <= 60 else text[:57] + "..."
