"""What can be said about a CEL expression from its text alone: the paths it reads, its functions, its size.

The `cel` package gives no syntax tree, so a small lexer finds the paths (`inputs.depth`, `steps['a-b'].output`) and
macros here. Whether the text is valid CEL is for the real parser to say; `functions.py` knows which functions exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

MACROS = frozenset({"map", "filter", "all", "exists", "exists_one", "existsOne"})
NAMESPACES = frozenset({"math", "lists", "strings", "sets", "base64", "optional"})
LITERALS = frozenset({"true", "false", "null", "in"})

_STRING = r"""
      [bB]?[rR][bB]?(?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
    | [bB]?(?: \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
"""
TOKEN = re.compile(
    rf"""
    (?P<space>\s+)
  | (?P<string>{_STRING})
  | (?P<number>0[xX][0-9a-fA-F]+[uU]? | (?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?[uU]?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<op>&&|\|\||==|!=|<=|>=|//|[^\s\w])
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING = {"(": ")", "[": "]", "{": "}"}
_PLAIN_STRING = re.compile(r"""(["'])([^"'\\]*)\1""")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the expression: `kind` is name, number, string, op or other; `at` its offset in the text."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Path:
    """A name and the fixed members read from it, such as `steps`, (`a`, `output`).

    `tested` says that it stands inside `has(...)`, where a missing last member is no mistake. `dynamic` says that it
    goes on with a computed index.
    """

    root: str
    members: tuple[str, ...]
    tested: bool = False
    dynamic: bool = False

    def __str__(self) -> str:
        return self.root + "".join(member_text(member) for member in self.members)


def member_text(member: str) -> str:
    """The member as an expression reads it: `.a`, or `['a-b']` where a dot would not do."""
    return f".{member}" if re.fullmatch(r"[A-Za-z_]\w*", member, re.ASCII) else f"['{member}']"


@dataclass(frozen=True, slots=True)
class Macro:
    """A comprehension: its variable is known between the tokens `start` and `end`, where its brackets are."""

    name: str
    variable: str
    start: int
    end: int

    def holds(self, inner: Macro) -> bool:
        """Whether the other runs once for each of its items. It holds itself."""
        return self.start <= inner.start < self.end


@dataclass(frozen=True)
class CelSource:
    """The text of one expression, looked at through its tokens."""

    text: str

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        found = (Token(match.lastgroup or "other", match.group(), match.start()) for match in TOKEN.finditer(self.text))
        return tuple(token for token in found if token.kind != "space")

    @cached_property
    def closing(self) -> dict[int, int]:
        """For each opening bracket, by token, the token that closes it (the end, where it stays open)."""
        pairs: dict[int, int] = {}
        open_at: list[int] = []
        for at, token in enumerate(self.tokens):
            if token.kind != "op":
                continue
            if token.text in _OPENING:
                open_at.append(at)
            elif open_at and token.text == _OPENING[self.tokens[open_at[-1]].text]:
                pairs[open_at.pop()] = at
        return {**dict.fromkeys(open_at, len(self.tokens)), **pairs}

    @cached_property
    def nesting(self) -> int:
        """How many brackets are open at once, at most."""
        depth = deepest = 0
        for token in self.tokens:
            if token.kind == "op" and token.text in "([{":
                depth += 1
                deepest = max(deepest, depth)
            elif token.kind == "op" and token.text in ")]}":
                depth -= 1
        return deepest

    @cached_property
    def links(self) -> int:
        """Operators and members: what the parser and the evaluator stack up when they stand in one row."""
        return sum(token.kind == "op" and token.text not in "()[]{}," for token in self.tokens)

    @cached_property
    def leading_dot(self) -> bool:
        """Whether a dot stands where no value is before it; CEL would read a name of the outermost scope."""
        return any(
            token.text == "."
            and token.kind == "op"
            and (at == 0 or (self.tokens[at - 1].kind == "op" and self.tokens[at - 1].text not in ")]}"))
            for at, token in enumerate(self.tokens)
        )

    @cached_property
    def macros(self) -> tuple[Macro, ...]:
        found = []
        for at, token in enumerate(self.tokens):
            if token.text in MACROS and self._is(at - 1, ".") and self._is(at + 1, "(") and self._is(at + 3, ","):
                found.append(Macro(token.text, self.tokens[at + 2].text, at + 1, self.closing[at + 1]))
        return tuple(found)

    @cached_property
    def macro_depth(self) -> int:
        """How many comprehensions run inside one another, at most."""
        return max((sum(outer.holds(macro) for outer in self.macros) for macro in self.macros), default=0)

    @cached_property
    def over(self) -> tuple[tuple[Path, ...], ...]:
        """For each comprehension: the paths that it, and those around it, go over; those that are computed left out."""
        ends = {end: path for path, (_, end) in self._paths()} if self.macros else {}
        lists = {macro: path for macro in self.macros if (path := ends.get(macro.start - 2))}
        return tuple(
            tuple(lists[outer] for outer in self.macros if outer.holds(macro) and outer in lists)
            for macro in self.macros
        )

    @cached_property
    def inside(self) -> tuple[Path, ...]:
        """The paths that the bodies of comprehensions read, besides their variables."""
        places = self._paths() if self.macros else ()
        return tuple(p for p, place in places if any(macro.start < place[0] < macro.end for macro in self.macros))

    @cached_property
    def scanning(self) -> bool:
        """Whether its comprehensions only look at each item once: none collects, nests, or reads a path inside."""
        collecting = any(macro.name in ("map", "filter") for macro in self.macros)
        return not collecting and not self.inside and self.macro_depth <= 1

    @cached_property
    def copies(self) -> int:
        """How often a value may stand in the result: each comprehension that names its variable twice doubles it."""
        found = 1
        for macro in self.macros:
            inside = self.tokens[macro.start + 2 : macro.end]
            found *= max(1, sum(token.kind == "name" and token.text == macro.variable for token in inside))
        return found

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """Every name that is read, once per place, without the variables of comprehensions."""
        return tuple(path for path, _ in self._paths())

    @cached_property
    def functions(self) -> tuple[str, ...]:
        """The functions called, macros left out; those of a namespace as `math.greatest`."""
        found = []
        for at, token in enumerate(self.tokens):
            if token.kind != "name" or not self._is(at + 1, "(") or self._starts_macro(at):
                continue
            namespaced = self._is(at - 1, ".") and at >= 2 and self.tokens[at - 2].text in NAMESPACES
            if namespaced and not self._is(at - 3, "."):
                found.append(f"{self.tokens[at - 2].text}.{token.text}")
            else:
                found.append(token.text)
        return tuple(dict.fromkeys(found))

    @cached_property
    def plain(self) -> Path | None:
        """The path, if the whole expression is one path and nothing else."""
        places = list(self._paths())
        if len(places) != 1 or places[0][0].dynamic or places[0][0].tested:
            return None
        return places[0][0] if places[0][1] == (0, len(self.tokens)) else None

    def count(self, text: str) -> int:
        """How often an operator or a function's name occurs."""
        return sum(token.text == text and token.kind != "string" for token in self.tokens)

    @cached_property
    def strings(self) -> tuple[str, ...]:
        return tuple(token.text for token in self.tokens if token.kind == "string")

    def _is(self, at: int, text: str) -> bool:
        return 0 <= at < len(self.tokens) and self.tokens[at].text == text and self.tokens[at].kind == "op"

    def _starts_macro(self, at: int) -> bool:
        return any(macro.start == at + 1 for macro in self.macros)

    def _bound(self, at: int) -> bool:
        name = self.tokens[at].text
        return any(macro.variable == name and macro.start < at < macro.end for macro in self.macros)

    def _paths(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        """Each path with its place: the first token and the one after the last."""
        for at, token in enumerate(self.tokens):
            if token.kind != "name" or token.text in LITERALS or self._is(at - 1, ".") or self._is(at + 1, "("):
                continue
            if self._bound(at) or (token.text in NAMESPACES and self._is(at + 1, ".") and self._is(at + 3, "(")):
                continue
            members: list[str] = []
            end = at + 1
            while (member := self._member(end)) is not None:
                members.append(member[0])
                end = member[1]
            tested = self._is(at - 1, "(") and at >= 2 and self.tokens[at - 2].text == "has"
            yield Path(token.text, tuple(members), tested, self._is(end, "[")), (at, end)

    def _member(self, at: int) -> tuple[str, int] | None:
        """The fixed member that starts at this token, and the token after it."""
        if self._is(at, ".") and at + 1 < len(self.tokens) and self.tokens[at + 1].kind == "name":
            return None if self._is(at + 2, "(") else (self.tokens[at + 1].text, at + 2)
        if self._is(at, "[") and self._is(at + 2, "]"):
            plain = _PLAIN_STRING.fullmatch(self.tokens[at + 1].text)
            return (plain.group(2), at + 3) if plain else None
        return None
