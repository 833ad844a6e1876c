"""Whatever stands in a definition file, compiling it gives a plan or mistakes of one line each, soon."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExpressionError, Problem, WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.expressions import check, references, render
from orchestrator.workflow.loader import load_workflow
from orchestrator.workflow.spec import Step, Workflow
from tests.unit.workflow.texts import quick

LIMITS = Settings()
KEYS = sorted({field.alias or name for model in (Workflow, Step) for name, field in model.model_fields.items()})
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "b", "${{ steps.a.output }}", "${{ inputs.x.map(y, y) }}", "${{", "5m", "../x", "1/1s"])
    | st.text(max_size=8)
)  # fmt: skip
VALUES: Any = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner),
    max_leaves=12,
)
STEPS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5).map(lambda step: {"id": "a", "set": {}} | step)
FILES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)
EXPRESSIONS = st.lists(
    st.sampled_from(
        ["inputs", ".x", "steps", "['a-b']", ".map(x, ", ".filter(x, ", ")", "(", "[", "]", "{", "}", "1", "'a'", " + ",
         " && ", "size(", "x", "secrets.A", "?", ":", "\\", '"', "}}", "has(", ".all(x, ", "!", "-", "round.previous"]
    ) | st.text(max_size=3),
    max_size=14,
).map("".join)  # fmt: skip


@quick
@given(FILES, st.lists(STEPS, min_size=1, max_size=4))
def test_any_document_is_a_plan_or_has_mistakes(file: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    text = json.dumps({"name": "x", **file, "steps": steps}).encode("utf-8", "replace").decode()
    start = time.process_time()
    problems: list[Problem] | None = None
    try:
        compile_workflow(load_workflow("any.yaml", text=text, limits=LIMITS), limits=LIMITS)
    except WorkflowInvalid as invalid:
        problems = invalid.problems
    assert problems is None or (problems and all("\n" not in str(problem) for problem in problems))
    assert time.process_time() - start < 2


@quick
@given(EXPRESSIONS)
def test_any_expression_is_checked_and_read_or_refused(source: str) -> None:
    template = f"${{{{ {source} }}}}"
    problems = check(template)
    assert all("\n" not in problem for problem in problems)
    references(template)
    scope = {"inputs": {"x": [1, "a", None]}, "steps": {}, "run": {"id": "r"}}
    with suppress(ExpressionError):
        render(template, scope, limit_s=0.3)
        assert not problems
