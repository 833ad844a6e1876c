from __future__ import annotations

import datetime
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import WorkflowInvalid
from orchestrator.workflow.inputs import check_inputs, parse_input
from orchestrator.workflow.plan import Plan
from tests.unit.workflow.texts import messages_of, plan_of, quick

DECLARED = """name: flow
inputs:
  topic: {type: string, min_length: 2, max_length: 5, pattern: "^[a-z]+$", description: what it is about}
  depth: {type: integer, default: 3, minimum: 1, maximum: 9}
  ratio: {type: number, default: 1}
  deep: {type: boolean, default: false}
  tags: {type: array, default: [], max_length: 2}
  more: {type: object, default: {}}
  tone: {type: string, enum: [dry, warm], default: dry}
  any: {default: null}
steps: [{id: a, set: {}}]
"""
PLAN = plan_of(DECLARED)


def refusals(given_values: dict[str, Any], plan: Plan = PLAN) -> dict[str, str]:
    with pytest.raises(WorkflowInvalid) as caught:
        check_inputs(plan, given_values)
    assert all(problem.file == "inputs" for problem in caught.value.problems)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_defaults_are_filled_in_and_numbers_are_doubles() -> None:
    values = check_inputs(PLAN, {"topic": "ab"})
    assert values == {
        "topic": "ab", "depth": 3, "ratio": 1.0, "deep": False, "tags": [], "more": {}, "tone": "dry", "any": None,
    }  # fmt: skip
    assert isinstance(values["ratio"], float)


def test_all_mistakes_are_reported_together() -> None:
    assert refusals({"topik": 1, "depth": "3", "ratio": "x", "deep": 1, "tags": {}, "more": [], "tone": "dri"}) == {
        "topik": "unknown input (did you mean topic?)",
        "topic": "is required (string): give it with -i topic=...",
        "depth": 'must be an integer, and is "3"',
        "ratio": 'must be a number, and is "x"',
        "deep": "must be a boolean, and is 1",
        "tags": "must be an array, and is {}",
        "more": "must be an object, and is []",
        "tone": 'is "dri", and must be one of "dry", "warm" (did you mean dry?)',
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("topic", "a", "has length 1, and the shortest is 2"),
        ("topic", "abcdef", "has length 6, and the longest is 5"),
        ("topic", "A1", 'is "A1", and does not match ^[a-z]+$'),
        ("depth", 0, "is 0, and the minimum is 1"),
        ("depth", 10, "is 10, and the maximum is 9"),
        ("depth", 3.0, "must be an integer, and is 3.0"),
        ("depth", True, "must be an integer, and is true"),
        ("depth", 2**63, "holds a number that does not fit into 64 bits"),
        ("ratio", True, "must be a number, and is true"),
        ("ratio", math.nan, "holds nan, which is no JSON number"),
        ("ratio", 10**400, "holds a number that does not fit into 64 bits"),
        ("tags", [1, 2, 3], "has length 3, and the longest is 2"),
        ("tags", [math.inf], "holds inf, which is no JSON number"),
        ("tags", (1,), "holds a tuple, which is no JSON value"),
        ("more", {1: 2}, "has the key 1, and keys are text"),
        ("any", "\ud800", "holds half of a surrogate pair, which is no text"),
        ("any", {"a": [datetime.date(2024, 1, 1)]}, "holds a date, which is no JSON value"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name: str, value: Any, message: str) -> None:
    assert refusals({"topic": "ab", name: value}) == {name: message}


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ("{type: integer, default: '3'}", 'a.default: must be an integer, and is "3"'),
        ("{type: string, pattern: '('}", "a.pattern: is no regular expression"),
        ("{type: string, minimum: 1}", "a.minimum: 'minimum' goes with type integer or number, not with string"),
        ("{type: integer, minimum: 3, maximum: 1}", "a.minimum: 'minimum' is larger than 'maximum'"),
        ("{type: string, default: null}", "a.default: must be a string, and is null"),
        ("{type: string, enum: []}", "a.enum: must not be empty"),
        ("{type: strin}", "a.type: 'strin' is not one of"),
        ("string", "a: must be a mapping, and is 'string'"),
    ],
)
def test_a_declaration_that_cannot_be_right_is_found(declaration: str, message: str) -> None:
    (found,) = messages_of(f"name: x\ninputs:\n  a: {declaration}\nsteps: [{{id: b, set: {{}}}}]\n")
    assert found.startswith(f"3 inputs.{message}")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("topic", "12", "12"), ("depth", "4", 4), ("ratio", "2", 2), ("deep", "true", True), ("tags", "[1]", [1]),
     ("more", '{"a": 1}', {"a": 1}), ("any", "12", 12), ("any", "text", "text"), ("unknown", "x", "x")],
)  # fmt: skip
def test_a_word_of_the_command_line_is_read_as_its_type(name: str, text: str, value: Any) -> None:
    assert parse_input(PLAN.inputs_schema, name, text) == value


def test_a_word_that_is_no_json_shows_how_to_write_it() -> None:
    with pytest.raises(ValueError, match=r'must be an array such as \["a","b"\], and is \'a\''):
        parse_input(PLAN.inputs_schema, "tags", "a")


@quick
@given(st.dictionaries(st.sampled_from(["topic", "depth", "ratio", "any", "tags"]), st.from_type(object) | st.text()))
def test_nothing_but_workflow_invalid_comes_out(values: dict[str, Any]) -> None:
    try:
        checked = check_inputs(PLAN, values)
    except WorkflowInvalid:
        return
    assert set(checked) == set(PLAN.inputs_schema)
