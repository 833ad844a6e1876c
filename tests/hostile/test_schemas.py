"""Hostile `output_schema`: refused when the file is checked, or ended within its time when an output is."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orchestrator.workflow.misfits import misfit
from orchestrator.workflow.schemas import problem_of, unknown_field
from tests.unit.workflow.texts import problems_of


def doubling(word: str, levels: int) -> dict[str, Any]:
    """A schema of `levels` lines that means 2 ** levels checks."""
    steps = {f"a{n}": {word: [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    last = {"type": "object", "properties": {"x": {}}}
    return {"$defs": {**steps, f"a{levels}": last}, "$ref": "#/$defs/a0"}


def test_a_schema_that_doubles_its_work_is_ended() -> None:
    start = time.monotonic()
    assert misfit(doubling("allOf", 60), {}, limit_s=0.2) == "the check takes longer than 0.2 s"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("word", ["anyOf", "oneOf"])
def test_what_a_schema_allows_to_read_is_told_at_once(word: str) -> None:
    start = time.process_time()
    assert unknown_field(doubling(word, 60), ("x",)) is None
    assert unknown_field(doubling(word, 60), ("y",)) == "it has no field `y`; there is x"
    node = {word: [{"properties": {"a": {"$ref": "#/$defs/node"}}}, {"properties": {"a": {"$ref": "#/$defs/node"}}}]}
    assert unknown_field({"$defs": {"node": node}, "$ref": "#/$defs/node"}, ("a",) * 100) is None
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"items": {"not": {"$ref": "#/items"}}}])
def test_a_schema_that_never_ends_is_a_misfit(schema: dict[str, Any]) -> None:
    assert problem_of(schema) is None
    assert misfit(schema, [1]) == "the schema refers to itself too often"


def test_items_are_compared_in_a_time_that_grows_with_their_number_alone() -> None:
    start = time.process_time()
    items = [{"n": number} for number in range(50_000)]
    assert misfit({"uniqueItems": True}, items) is None
    assert "has an item twice" in str(misfit({"uniqueItems": True}, [*items, {"n": 1.0}]))
    assert time.process_time() - start < 2


def test_patterns_of_keys_take_no_time_either() -> None:
    start = time.process_time()
    steep = {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}
    assert misfit(steep, {"a" * 5000: 1}) is None
    assert "is not allowed: there is no such property" in str(misfit(steep, {"a" * 5000 + "!": 1}))
    assert time.process_time() - start < 1


def test_a_message_is_short_and_says_what_is_wrong() -> None:
    wrong = misfit({"type": "string"}, ["x" * 1_000_000])
    assert len(wrong or "") <= 300
    assert (wrong or "").endswith("is not of type 'string'")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ('{patternProperties: {"(": {}}}', "the pattern '(' is no regular expression: unclosed group"),
        ("{pattern: '(a)\\1'}", "backreferences are not supported"),
        ("{$ref: '#/$defs/gone'}", "leads nowhere"),
        ("{$dynamicRef: '#x'}", "leads nowhere"),
        ("{properties: {a: {$id: 'http://a.example/'}}}", "$id is not supported"),
        ("{unevaluatedProperties: false}", "unevaluatedProperties is not supported"),
        ("{multipleOf: 0}", "is no JSON Schema: 0 is less than or equal to the minimum of 0"),
        ("[" * 100 + "]" * 100, "must be a mapping, and is a list"),
        ("{not: " * 70 + "{}" + "}" * 70, "is nested deeper than 64"),
        (f"{{enum: [{'1,' * 10_000}]}}", "makes more than 10,000 values in schemas"),
    ],
)
def test_what_a_schema_may_not_say(schema: str, words: str) -> None:
    (found,) = problems_of(f"- {{id: a, agent: clerk, output_schema: {schema}}}")
    assert words in found.message


LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 1.5, "", "a", "ab"])
VALUES = st.recursive(
    LEAVES, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3)
)
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.sampled_from([{}, {"type": "string"}, {"type": "integer"}, {"uniqueItems": True}]),
    lambda below: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), below, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b|c", "."]), below, max_size=2),
            "additionalProperties": below,
            "uniqueItems": st.booleans(),
            "items": below,
            "anyOf": st.lists(below, min_size=1, max_size=2),
        },
    ),
    max_leaves=8,
)


@given(SCHEMAS.filter(lambda schema: isinstance(schema, dict)), VALUES)
def test_what_is_replaced_says_what_the_library_says(schema: dict[str, Any], value: Any) -> None:
    assert (misfit(schema, value) is None) == Draft202012Validator(schema).is_valid(value)
