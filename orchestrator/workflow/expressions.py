"""`${{ ... }}` in values: what they read, whether they are right, and their bounded evaluation.

Alone in a string an expression keeps its type; inside text it becomes text: strings as they are, everything else as
compact JSON. A value that comes out is never looked at for expressions again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.workflow.cel_source import CelSource, Path
from orchestrator.workflow.evaluation import NotJson, run
from orchestrator.workflow.evaluator import FailedInHelper, run_in_helper
from orchestrator.workflow.explain import explain
from orchestrator.workflow.formula import Formula
from orchestrator.workflow.functions import GROWING, QUADRATIC
from orchestrator.workflow.template import OPEN, Expr, split

Json = Any
# One turn of a comprehension costs about 26 ns times the size of its list (docs/decisions/0002-expressions.md), so
# this many turns keep an evaluation in this process under 30 ms.
_INLINE_TURNS = 1_000_000
_HELPER_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class References:
    """What a template reads. `inputs` is None when it reads them all (`inputs` as a whole)."""

    steps: frozenset[str] = frozenset()
    inputs: frozenset[str] | None = frozenset()
    names: frozenset[str] = frozenset()


def render(template: Json, scope: Mapping[str, Any]) -> Json:
    """The template with every expression replaced by its value.

    Args:
        scope: `inputs`, `steps` (id -> `{output, status, error, attempts}`), `run`, and where they exist `item`,
            `index` and `secrets`.
    Raises:
        ExpressionError: which expression, and what is wrong.
    """
    if isinstance(template, str):
        return _render_text(template, scope) if OPEN in template else template
    if isinstance(template, list):
        return [render(item, scope) for item in template]
    if isinstance(template, dict):
        return {key: render(value, scope) for key, value in template.items()}
    return template


def evaluate_bool(template: Json, scope: Mapping[str, Any]) -> bool:
    """The truth of a `when`. Raises ExpressionError, also when the value is neither true nor false."""
    value = render(template, scope)
    if not isinstance(value, bool):
        raise ExpressionError(f"{template} is {json.dumps(value)[:60]}, and must be true or false")
    return value


def check(template: Json, *, max_bytes: int | None = None) -> list[str]:
    """What is wrong with the expressions of a template, without looking at data. Empty: they may be evaluated."""
    if isinstance(template, str):
        if OPEN not in template:
            return []
        try:
            pieces = split(template)
        except ValueError:
            return ["a ${{ has no }}"]
        sources = [piece.source for piece in pieces if isinstance(piece, Expr)]
        return [f"{text[:60]}: {found}" for text in sources for found in Formula(text).problems(max_bytes)]
    if isinstance(template, (list, dict)):
        values = template.values() if isinstance(template, dict) else template
        return [found for value in values for found in check(value, max_bytes=max_bytes)]
    return []


def references(template: Json) -> References:
    """What a template reads. Broken expressions read nothing; `check` reports them."""
    steps: set[str] = set()
    inputs: set[str] = set()
    names: set[str] = set()
    all_inputs = False
    for source in expressions_in(template):
        for path in source.paths:
            names.add(path.root)
            if path.root == "steps" and path.members:
                steps.add(path.members[0])
            elif path.root == "inputs" and path.members:
                inputs.add(path.members[0])
            elif path.root == "inputs":
                all_inputs = True
    return References(frozenset(steps), None if all_inputs else frozenset(inputs), frozenset(names))


def expressions_in(template: Json) -> Iterator[CelSource]:
    """Every expression of a template; texts with an expression that does not end are passed over."""
    if isinstance(template, str):
        if OPEN in template:
            try:
                yield from (source_of(piece.source) for piece in split(template) if isinstance(piece, Expr))
            except ValueError:
                return
    elif isinstance(template, (list, dict)):
        for item in template.values() if isinstance(template, dict) else template:
            yield from expressions_in(item)


@lru_cache(maxsize=8192)
def source_of(text: str) -> CelSource:
    """The text of an expression, its tokens remembered."""
    return CelSource(text)


def _render_text(text: str, scope: Mapping[str, Any]) -> Json:
    try:
        pieces = split(text)
    except ValueError:
        raise ExpressionError(f"{text[:60]!r}: a ${{{{ has no }}}}") from None
    if len(pieces) == 1 and isinstance(pieces[0], Expr):
        return evaluate(pieces[0].source, scope)
    return "".join(piece if isinstance(piece, str) else _as_text(evaluate(piece.source, scope)) for piece in pieces)


def _as_text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def evaluate(text: str, scope: Mapping[str, Any]) -> Json:
    """The value of one expression, without its `${{ }}`. Raises ExpressionError."""
    source = source_of(text)
    if source.plain is not None:
        found, value = _walk(source.plain, scope)
        if found:
            return value
    variables = _variables(source, scope)
    try:
        if _quick(source, variables):
            return run(text, variables, source.functions)
        return run_in_helper(text, variables, source.functions, _HELPER_LIMIT_S)
    except NotJson as error:
        raise ExpressionError(f"{text}: {error}") from None
    except FailedInHelper as error:
        raise ExpressionError(f"{text}: {explain(source, scope, str(error))}") from None
    except ExpressionError as error:
        raise ExpressionError(f"{text}: {error.message}") from None
    except Exception as error:  # CEL raises whatever fits: TypeError, KeyError, RuntimeError, ValueError
        raise ExpressionError(f"{text}: {explain(source, scope, str(error))}") from None


def _walk(path: Path, scope: Mapping[str, Any]) -> tuple[bool, Json]:
    """The value of a plain path, which needs no CEL: most expressions are one."""
    value: Any = scope.get(path.root, _NOTHING)
    for member in path.members:
        if not isinstance(value, Mapping):
            return False, None
        try:
            value = value[member]
        except KeyError:
            return False, None
    return value is not _NOTHING and not (path.root == "steps" and len(path.members) < 2), value


_NOTHING = object()


def _variables(source: CelSource, scope: Mapping[str, Any]) -> dict[str, Any]:
    """Only what the expression reads: handing CEL a value costs in proportion to its size."""
    variables: dict[str, Any] = {}
    for path in source.paths:
        if path.root not in scope:
            continue
        depth = {"steps": 2, "inputs": 1, "run": 1, "secrets": 1}.get(path.root, 0)
        _copy_path(variables, scope, (path.root, *path.members[:depth]))
    return variables


def _copy_path(variables: dict[str, Any], scope: Mapping[str, Any], members: tuple[str, ...]) -> None:
    place: dict[str, Any] = variables
    value: Any = scope
    for member in members[:-1]:
        if not isinstance(value, Mapping) or member not in value:
            return
        value = value[member]
        place = place.setdefault(member, {})
    if isinstance(value, Mapping) and members[-1] in value:
        leaf = value[members[-1]]
        place[members[-1]] = dict(leaf) if isinstance(leaf, Mapping) else leaf


def _quick(source: CelSource, variables: dict[str, Any]) -> bool:
    """Whether the evaluation is sure to end soon. CEL holds the interpreter and no signal stops it."""
    heavy = any(name in GROWING or name in QUADRATIC for name in source.functions)
    if not source.macros and not heavy:
        return True
    turns = (_size(variables, _INLINE_TURNS) + len(source.tokens)) ** (max(source.macro_depth, 1) + 1)
    return turns <= _INLINE_TURNS


def _size(value: Any, most: int) -> int:
    """Elements and characters in a value, counted no further than `most`."""
    stack, total = [value], 0
    while stack and total < most:
        item = stack.pop()
        total += 1
        if isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            total += len(item) // 16
    return total
