"""One expression, looked at once and kept: is it valid, what does it read, what makes it expensive."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.workflow.budget import Shape, Size
from orchestrator.workflow.cel_source import CelSource, Path
from orchestrator.workflow.evaluation import program
from orchestrator.workflow.functions import KNOWN
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.template import SHAPE

ROOTS = ("inputs", "steps", "item", "index", "round", "run", "secrets")
STEP_FIELDS = ("output", "status", "error", "attempts")
ERROR_FIELDS = ("type", "message", "step", "attempt")
RUN_FIELDS = ("id", "workflow", "error")
ROUND_FIELDS = ("index", "previous")
MAX_NESTING = 32
MAX_LINKS = 256
MAX_COMMAS = 256  # CEL takes 2.5 kB for each item
MAX_COMPREHENSIONS = 4
MAX_ITEMS = 100_000
_HYPHEN = re.compile(r"(?<![\w.])steps\.([A-Za-z_]\w*(?:-\w+)+)")
_WHERE = re.compile(r"<input>:\d+:(\d+): (?:Syntax error: )?(.*)")


class Formula:
    """The text of one expression with everything that is known without data."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.cel = CelSource(source)

    def problems(self, max_bytes: int | None = None) -> list[str]:
        """What is wrong with it; nothing: it may be evaluated. `max_bytes` None leaves the length out."""
        if max_bytes is not None and (size := len(self.source.encode("utf-8", "surrogatepass"))) > max_bytes:
            return [f"is {size:,} bytes long; the limit is {max_bytes:,}"]
        return self._problems

    @cached_property
    def _broken(self) -> str | None:
        return self._too_deep() or self._not_cel()

    @cached_property
    def _problems(self) -> list[str]:
        if self._broken:
            return [self._broken]
        problems = [self._wrong_function(name) for name in self.cel.functions if name not in KNOWN]
        problems += [problem for path in self.cel.paths if (problem := self._wrong_path(path))]
        if self.plain is None and any(path.root == "secrets" and path.members for path in self.cel.paths):
            problems.append("a secret is not computed with: write ${{ secrets.NAME }} alone, or with text around it")
        problems += [
            f"a variable of map or filter may not be called `{macro.variable}`; choose another name"
            for macro in self.cel.macros
            if macro.variable in ROOTS
        ]
        return list(dict.fromkeys(problems))

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The paths it reads that exist in the language; none if it is no CEL."""
        if self._broken:
            return ()
        return tuple(path for path in self.cel.paths if path.root in ROOTS)

    @cached_property
    def plain(self) -> Path | None:
        """The path, if the expression is one path and nothing else."""
        return self.cel.plain

    @cached_property
    def _shape(self) -> Shape:
        return Shape.of(self.cel)

    @cached_property
    def _wanted(self) -> dict[str, Any]:
        """The paths as a tree; None stands for everything below."""
        tree: dict[str, Any] = {}
        for path in sorted(self.cel.paths, key=lambda path: len(path.members)):
            node: dict[str, Any] | None = tree
            for member in (path.root, *path.members)[:-1]:
                node = node.setdefault(member, {}) if node is not None else None
            if node is not None:
                node.setdefault((path.root, *path.members)[-1], None)
        return tree

    def prepare(self, scope: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """The part of the scope that the expression names, and the most work that evaluating over it can be.

        CEL converts all it is given, 2 us for each element. The work is in the unit of `budget`.

        Raises:
            ExpressionError: a comprehension goes over more than `MAX_ITEMS`.
        """
        size = Size()
        part: dict[str, Any] = _narrow(scope, self._wanted, size)
        for lists in self.cel.over:
            items = prod(_length(part, path) for path in lists)
            if items > MAX_ITEMS:
                raise ExpressionError(f"goes over {items:,} items; the limit is {MAX_ITEMS:,}; {SHAPE}")
        inside = Size()
        for path in self.cel.inside:
            _narrow(part, _tree(path), inside)
        return part, self._shape.units(size, inside.units)

    def _too_deep(self) -> str | None:
        # The parser and the evaluator recurse: 128 brackets, or 1,000 operators in a row, overflow a thread's stack
        # of 512 KiB and end the process.
        if self.cel.nesting > MAX_NESTING:
            return f"has {self.cel.nesting} brackets inside one another; the limit is {MAX_NESTING}"
        if self.cel.links > MAX_LINKS:
            return f"has {self.cel.links} operators and members; the limit is {MAX_LINKS}"
        if (commas := self.cel.count(",")) > MAX_COMMAS:
            return f"has {commas} commas; the limit is {MAX_COMMAS}"
        if self.cel.macro_depth > MAX_COMPREHENSIONS:
            return f"has {self.cel.macro_depth} comprehensions inside one another; the limit is {MAX_COMPREHENSIONS}"
        if self.cel.count("//"):
            return "has a comment; comments are not allowed in expressions"
        if self.cel.leading_dot:
            return "has a name that starts with a dot"
        return None

    def _not_cel(self) -> str | None:
        if not self.source:
            return "is empty"
        if hyphen := _HYPHEN.search(self.source):
            return f"write steps['{hyphen.group(1)}'] to read a step whose id has a hyphen"
        try:
            program(self.source)
        except ValueError as error:
            where = _WHERE.search(str(error))
            if where is None:
                return "is not valid CEL"
            column, reason = where.groups()
            if reason == "reserved identifier: loop":
                return "`loop` is a reserved word of CEL"
            return f"is not valid CEL at column {column}: {_readable(reason)}"
        if re.search(r"[A-Za-z_]\s*\{", self.source) and any(
            token.kind == "name" and self.cel.tokens[at + 1].text == "{"
            for at, token in enumerate(self.cel.tokens[:-1])
            if token.text != "in"
        ):
            return "has a name before `{`; messages are not supported, write a map {'key': value}"
        return None

    def _wrong_function(self, name: str) -> str:
        return f"unknown function `{name}`{did_you_mean(name, KNOWN)}"

    def _wrong_path(self, path: Path) -> str | None:
        if path.root not in ROOTS:
            hint = f"; text goes in quotes: '{path.root}'" if not path.members else ""
            return f"unknown name `{path.root}`{did_you_mean(path.root, ROOTS)}; known are {listed(ROOTS)}{hint}"
        if path.root == "steps":
            return _wrong_step(path)
        if path.root == "run":
            return _wrong_field(path, path.members, RUN_FIELDS)
        if path.root == "round":
            return _wrong_round(path)
        if path.root == "secrets" and not path.members:
            return "name the secret: secrets.NAME"
        return None


def _wrong_step(path: Path) -> str | None:
    if not path.members:
        return "name the step: steps.ID.output"
    wrong = _wrong_field(path, path.members[1:], STEP_FIELDS)
    if wrong is None and path.members[1] == "error" and len(path.members) > 2:
        return _wrong_field(path, path.members[2:], ERROR_FIELDS)
    return wrong


def _wrong_round(path: Path) -> str | None:
    wrong = _wrong_field(path, path.members, ROUND_FIELDS)
    if wrong is None and path.members[0] == "previous" and len(path.members) > 1:
        return _wrong_field(path, path.members[2:], STEP_FIELDS)
    return wrong


def _wrong_field(path: Path, members: tuple[str, ...], fields: tuple[str, ...]) -> str | None:
    whole = path.members[: len(path.members) - len(members)]
    base = str(Path(path.root, whole))
    if not members:
        return f"read {listed(f'{base}.{name}' for name in fields)}"
    if members[0] in fields:
        return None
    extra = f"; write {base}.output.{members[0]} for a field of the output" if fields is STEP_FIELDS else ""
    near = did_you_mean(members[0], fields)
    return f"{base} has no `{members[0]}`{near}; it has {listed(fields)}{'' if near else extra}"


def _readable(reason: str) -> str:
    """The parser's sentence without its list of fifty tokens."""
    reason = re.sub(r"\s*expecting \{.*", "", reason)
    return reason.replace("mismatched input '<EOF>'", "it ends too early").replace("mismatched input", "unexpected")


def _length(scope: Mapping[str, Any], path: Path) -> int:
    """How many items the list or map at a path has; 1 if there is none, which CEL tells."""
    value: Any = scope
    for member in (path.root, *path.members):
        value = value.get(member) if isinstance(value, Mapping) else None
    return len(value) if isinstance(value, (list, tuple, Mapping)) else 1


def _tree(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] | None = None
    for member in reversed((path.root, *path.members)):
        tree = {member: tree}
    return tree or {}


def _narrow(value: Any, wanted: dict[str, Any] | None, size: Size) -> Any:
    if wanted is None or not isinstance(value, Mapping):
        size.add(value)
        return value
    return {key: _narrow(value[key], below, size) for key, below in wanted.items() if key in value}
