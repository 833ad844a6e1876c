"""`${{ ... }}` in values: what they read, whether they are right, and their bounded evaluation.

Alone in a string an expression keeps its type; inside text it becomes text: strings as they are, everything else as
compact JSON (null is `null`). A value that comes out is never looked at for expressions again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.workflow.budget import INLINE_UNITS
from orchestrator.workflow.evaluation import NotJson, run
from orchestrator.workflow.evaluator import FailedInHelper, run_in_helper
from orchestrator.workflow.explain import broken, explain, kind
from orchestrator.workflow.filling import Filling
from orchestrator.workflow.formula import Formula
from orchestrator.workflow.template import MOST_LETTERS, OPEN, Expr, Unclosed, about, shorten, split

Json = Any
MAX_BYTES = 4096
LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class References:
    """What a template reads. `inputs` is None when it reads them all (`inputs` as a whole).

    `names` are the first words of what it reads: `steps`, `item`, `secrets`. `previous` are the steps of the round
    before, None when it reads that as a whole. `outputs` are the fields that it reads of outputs: (step, field, ...).
    """

    steps: frozenset[str] = frozenset()
    inputs: frozenset[str] | None = frozenset()
    names: frozenset[str] = frozenset()
    previous: frozenset[str] | None = frozenset()
    outputs: frozenset[tuple[str, ...]] = frozenset()


def render(template: Json, scope: Mapping[str, Any], *, limit_s: float = LIMIT_S) -> Json:
    """The template with every expression replaced by its value; the keys of mappings stay as they are.

    Args:
        scope: `inputs`, `steps` (id -> `{output, status, error, attempts}`), `run`, and where they exist `item`,
            `index` and `secrets`.
        limit_s: seconds that one expression may take.
    Raises:
        ExpressionError: which expression, and what is wrong.
    """
    return Filling(lambda source: evaluate(source, scope, limit_s)).fill(template)


def read_paths(template: Json, scope: Mapping[str, Any]) -> Json:
    """The template with its plain paths read, and every expression that would compute something as it is written.

    Raises:
        ExpressionError: which path cannot be read.
    """
    return Filling(lambda source: _path_or_text(source, scope)).fill(template)


def evaluate_bool(template: str | bool, scope: Mapping[str, Any], *, limit_s: float = LIMIT_S) -> bool:
    """The truth of a `when`. Raises ExpressionError, also when the value is neither true nor false."""
    value = render(template, scope, limit_s=limit_s)
    if isinstance(value, bool):
        return value
    raise ExpressionError(f"{template}: a condition must be true or false, and this is {kind(value)}")


def references(template: Json) -> References:
    """What a template reads. Expressions that are no CEL read nothing; `check` reports them."""
    steps: set[str] = set()
    inputs: set[str] = set()
    names: set[str] = set()
    previous: set[str] = set()
    outputs: set[tuple[str, ...]] = set()
    all_inputs = all_previous = False
    for found in expressions_in(template):
        for path in found.paths:
            names.add(path.root)
            if path.root == "steps" and path.members:
                steps.add(path.members[0])
                if path.members[1:2] == ("output",):
                    fields = path.members[2:-1] if path.tested else path.members[2:]
                    outputs.add((path.members[0], *fields))
            elif path.root == "round" and path.members[:1] == ("previous",):
                previous.update(path.members[1:2])
                all_previous = all_previous or len(path.members) == 1
            elif path.root == "inputs" and path.members:
                inputs.add(path.members[0])
            elif path.root == "inputs":
                all_inputs = True
    return References(
        frozenset(steps),
        None if all_inputs else frozenset(inputs),
        frozenset(names),
        None if all_previous else frozenset(previous),
        frozenset(outputs),
    )


def check(template: Json, *, max_bytes: int = MAX_BYTES) -> list[str]:
    """What is wrong with the expressions of a template, as far as it can be told without data. One sentence each."""
    problems: list[str] = []
    for text in _texts(template):
        try:
            pieces = split(text)
        except Unclosed:
            problems.append(
                f"{shorten(text)}: `{OPEN}` is never closed; end it with `}}}}` within {MOST_LETTERS:,} characters, or"
                f" write `${OPEN}` for text"
            )
            continue
        for piece in pieces:
            if isinstance(piece, Expr):
                problems += [about(piece.source, problem) for problem in formula(piece.source).problems(max_bytes)]
    return problems


def expressions_in(template: Json) -> Iterator[Formula]:
    """Every expression of a template; texts with an expression that does not end are passed over."""
    for text in _texts(template):
        try:
            yield from (formula(piece.source) for piece in split(text) if isinstance(piece, Expr))
        except Unclosed:
            continue


def alone(text: str) -> bool:
    """Whether the text is one expression and nothing else, so that its type is kept."""
    try:
        pieces = split(text)
    except Unclosed:
        return False
    return len(pieces) == 1 and isinstance(pieces[0], Expr)


@lru_cache(maxsize=2048)
def formula(source: str) -> Formula:
    """The expression, looked at once."""
    return Formula(source)


def _texts(template: Json) -> Iterator[str]:
    if isinstance(template, str):
        if OPEN in template:
            yield template
    elif isinstance(template, dict):
        for value in template.values():
            yield from _texts(value)
    elif isinstance(template, (list, tuple)):
        for value in template:
            yield from _texts(value)


def _path_or_text(source: str, scope: Mapping[str, Any]) -> Json:
    found = formula(source)
    if found.plain is None:
        return f"{OPEN} {source} }}}}"
    try:
        return _read(found, scope)
    except ExpressionError as error:
        raise ExpressionError(about(source, error.message)) from None


def evaluate(source: str, scope: Mapping[str, Any], limit_s: float = LIMIT_S) -> Json:
    """The value of one expression, without its `${{ }}`. Raises ExpressionError."""
    found = formula(source)
    if problems := found.problems():
        raise ExpressionError(about(source, problems[0]))
    try:
        if found.plain is not None:
            return _read(found, scope)
        variables, units = found.prepare(scope)
        if units <= INLINE_UNITS:
            return run(source, variables, found.cel.functions)
        return run_in_helper(source, variables, found.cel.functions, limit_s)
    except ExpressionError as error:
        message = error.message
    except NotJson as error:
        message = str(error)
    except FailedInHelper as error:
        message = str(error) if error.kind == "NotJson" else explain(found.cel, scope, error.kind, str(error))
    except Exception as error:  # CEL raises whatever fits: TypeError, KeyError, RuntimeError, ValueError
        message = explain(found.cel, scope, type(error).__name__, str(error))
    raise ExpressionError(about(source, message))


def _read(found: Formula, scope: Mapping[str, Any]) -> Json:
    # Most expressions are a plain path. CEL would convert all of the value twice: 0.2 s for a list of 100,000.
    assert found.plain is not None
    value: Any = scope
    try:
        for member in (found.plain.root, *found.plain.members):
            value = value[member]
    except (KeyError, TypeError, IndexError):
        raise ExpressionError(broken(found.plain, scope) or "cannot be read") from None
    return value
