"""Expressions cannot be interrupted, so what may take long is told beforehand and goes to a process that is killed."""

from __future__ import annotations

import multiprocessing
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExpressionError
from orchestrator.workflow import expressions
from orchestrator.workflow.budget import INLINE_UNITS
from orchestrator.workflow.expressions import formula, render
from tests.unit.workflow.texts import quick


def units(expression: str, **inputs: Any) -> int:
    return formula(expression).prepare({"inputs": inputs})[1]


@pytest.mark.parametrize(
    ("expression", "inputs"),
    [
        ("inputs.a > 2 && inputs.b == 'x'", {"a": 1, "b": "x" * 200}),
        ("size(inputs.l) > 0", {"l": list(range(5000))}),
        ("inputs.l.map(x, x.name)", {"l": [{"name": "n", "text": "words " * 5}] * 60}),
        ("inputs.l.filter(x, x.score > inputs.least)", {"l": [{"name": "n", "score": 3}] * 60, "least": 2}),
        ("inputs.l.exists(x, x == 3)", {"l": list(range(5000))}),
        ("inputs.s.replace(' ', '-').replace('/', '-')", {"s": "a title of a page"}),
        ("inputs.s.matches('^[a-z]+$')", {"s": "word"}),
    ],
)
def test_common_expressions_stay_in_the_process(expression: str, inputs: dict[str, Any]) -> None:
    assert units(expression, **inputs) <= INLINE_UNITS


@pytest.mark.parametrize(
    ("expression", "inputs"),
    [
        ("inputs.l.map(x, x)", {"l": list(range(1000))}),
        ("inputs.l.map(x, inputs.l.map(y, x * y))", {"l": list(range(60))}),
        ("inputs.l.all(x, x in inputs.l)", {"l": list(range(1000))}),
        ("[1, 2, 3, 4, 5, 6, 7, 8].map(a," * 8 + "1" + ")" * 8, {}),
        ("size(inputs.l)", {"l": list(range(100_000))}),
        ("+".join(["inputs.l"] * 50), {"l": list(range(10_000))}),
        ("+".join(["inputs.s"] * 50), {"s": "x" * 100_000}),
        ("inputs.s.replace('x', inputs.s).replace('x', inputs.s)", {"s": "x" * 1000}),
        ("inputs.s.split('').map(x, x)", {"s": "x" * 5000}),
        ("lists.range(100000).size()", {}),
        ("inputs.l.map(x, inputs.l)", {"l": list(range(150))}),
        ("inputs.s.upperAscii()", {"s": "x" * 200_000}),
        ("[1]" + ".map(x, [x, x, x, x])" * 12, {}),
        ("inputs.l.map(x, inputs.l).flatten().map(x, x)", {"l": list(range(200))}),
        ("inputs.l.map(x, inputs.s).join('').split('').map(x, x)", {"l": list(range(200)), "s": "x" * 50}),
        ("inputs.l.distinct()", {"l": list(range(2000))}),
    ],
)
def test_what_may_take_long_leaves_the_process(expression: str, inputs: dict[str, Any]) -> None:
    assert units(expression, **inputs) > INLINE_UNITS


def test_a_large_evaluation_gives_the_same_in_the_helper() -> None:
    scope = {"inputs": {"l": list(range(500)), "s": "é"}}
    assert render("${{ inputs.l.map(x, {'v': x, 's': inputs.s})[499] }}", scope) == {"v": 499, "s": "é"}


def test_a_failure_in_the_helper_is_explained_like_any_other() -> None:
    scope = {"inputs": {"l": [1.5] * 1000}}
    with pytest.raises(ExpressionError, match="the types do not go together"):
        render("${{ inputs.l.map(x, x + 1) }}", scope)


def test_an_evaluation_that_takes_too_long_is_ended() -> None:
    scope = {"inputs": {"l": list(range(20_000))}}
    start = time.monotonic()
    with pytest.raises(ExpressionError, match=r"longer than 0\.2 s .* shape large data in an agent or a foreach"):
        render("${{ inputs.l.map(x, x) }}", scope, limit_s=0.2)
    assert time.monotonic() - start < 2


def test_a_plain_path_is_read_without_copying() -> None:
    big = list(range(100_000))
    assert render("${{ inputs.l }}", {"inputs": {"l": big}}) is big


def test_a_daemonic_process_may_use_the_helper() -> None:
    # prefork workers are daemonic, and those may have no children of multiprocessing
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=_evaluate_into, args=(queue,), daemon=True)
    process.start()
    process.join(10)
    assert queue.get() == 1000


def _evaluate_into(queue: Any) -> None:
    queue.put(render("${{ inputs.l.map(x, x).size() }}", {"inputs": {"l": list(range(1000))}}))


@pytest.mark.parametrize("pattern", ["({}", "[{}", "!({}", "-({}", "[1].map(x,{}", "{{1:{}"])
def test_the_deepest_nesting_that_is_allowed_is_safe_on_a_small_stack(pattern: str) -> None:
    opening = pattern.replace("{}", "").replace("{{", "{")
    closing = {"(": ")", "[": "]", "{": "}"}
    ends = "".join(
        closing[c] for c in reversed(opening) if c in closing and opening.count(c) > opening.count(closing[c])
    )
    depth = 32
    text = opening * depth + "1" + "+1" * 200 + ends * depth
    outcome: list[str] = []

    def evaluate() -> None:
        try:
            outcome.append(str(render(f"${{{{ {text} }}}}", {})))
        except ExpressionError as error:
            outcome.append(error.message)

    threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=evaluate)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(0)
    assert outcome


@quick
@given(st.text(alphabet="[](){}'\"abx123.+-*/%!?:,&|<>= mapin", max_size=60))
def test_no_text_ends_the_process_or_raises_anything_else(text: str) -> None:
    with suppress(ExpressionError):
        expressions.evaluate(text.strip(), {"inputs": {}}, 0.2)
