from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExpressionError
from orchestrator.workflow.expressions import References, check, evaluate_bool, references, render
from orchestrator.workflow.template import escape
from tests.unit.workflow.texts import quick

FAILED = {"type": "ValueError", "message": "no", "step": "f", "attempt": 2}
SCOPE: dict[str, Any] = {
    "inputs": {"n": 3, "x": 2.5, "s": "abc", "l": [1, 2, 3], "b": True, "none": None},
    "steps": {
        "a": {"output": {"k": "v", "n": None, "deep": {"er": 1}}, "status": "succeeded", "error": None, "attempts": 1},
        "a-b": {"output": 7, "status": "succeeded", "error": None, "attempts": 1},
        "s": {"output": None, "status": "skipped", "error": None, "attempts": 0},
        "f": {"output": None, "status": "failed", "error": FAILED, "attempts": 2},
    },
    "item": {"q": 1},
    "index": 4,
    "run": {"id": "r1", "workflow": "w", "error": None},
    "secrets": {"KEY": "hush"},
}


def value(expression: str) -> Any:
    return render(f"${{{{ {expression} }}}}", SCOPE)


def failure(expression: str) -> str:
    with pytest.raises(ExpressionError) as caught:
        value(expression)
    return caught.value.message.partition("}}: ")[2]


KNOWN = "known are inputs, steps, item, index, round, run, secrets"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("inputs.n > 2 && steps.a.output.k == 'v'", True),
        ("inputs.x", 2.5),
        ("inputs.x == 2.5 && inputs.n < 3.5", True),
        ("double(inputs.n) + 0.5", 3.5),
        ("steps['a-b'].output + index", 11),
        ("steps.f.error.message + ' ' + string(steps.f.attempts)", "no 2"),
        ("inputs", SCOPE["inputs"]),
        ("inputs.l.map(x, x * 2)", [2, 4, 6]),
        ("inputs.l.filter(x, x > 1).size()", 2),
        ("has(steps.a.output.zz) ? 1 : 2", 2),
        ("'k' in steps.a.output", True),
        ("steps.a.output[inputs.s.size() == 3 ? 'k' : 'n']", "v"),
        ("inputs.s.upperAscii()", "ABC"),
        ("math.greatest(1, inputs.n)", 3),
        ("[3, 1, 2].sort()", [1, 2, 3]),
        ("'a,b'.split(',')", ["a", "b"]),
        ("[1, 2].first()", 1),
        ("[].first()", None),
        ("{'a': {'b': [1, null]}}", {"a": {"b": [1, None]}}),
        ("7u", 7),
        ("run.id + run.workflow", "r1w"),
        ("secrets.KEY", "hush"),
        ("item.q", 1),
        ("steps.s.output == null", True),
        ("steps.s.status", "skipped"),
        ("inputs.none", None),
    ],
)  # fmt: skip
def test_an_expression_has_a_value(expression: str, result: Any) -> None:
    found = value(expression)
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("steps.s.output.x", "cannot read `x` of steps.s.output, which is null, because the step was skipped; "
                             "test steps.s.status first"),
        ("steps.f.output.x + 'a'", "cannot read `x` of steps.f.output, which is null, because the step failed; "
                                   "test steps.f.status first"),
        ("steps.a.output.n.q", "cannot read `q` of steps.a.output.n, which is null"),
        ("steps.a.output.dep + 1", "steps.a.output has no key `dep` (did you mean deep?); it has deep, k, n"),
        ("steps.a.output.k.x", "cannot read `x` of steps.a.output.k, which is a string and has no fields"),
        ("steps.a.error.message",
         "cannot read `message` of steps.a.error, which is null, because the step did not fail"),
        ("inputs.x + inputs.n", "the types do not go together (inputs.x is a double, inputs.n is an int); "
                                "CEL does not mix int and double: write double(inputs.n)"),
        ("inputs.x * 2", "the types do not go together (inputs.x is a double); "
                         "CEL does not mix int and double: write 2.0 instead of 2"),
        ("inputs.s + inputs.n", "the types do not go together (inputs.s is a string, inputs.n is an int); "
                                "CEL does not mix text and numbers: write string(inputs.n)"),
        ("1.0 / 0.0", "the result is inf, which is no JSON value; check for a division by zero"),
        ("1 / 0", "division by zero in CEL expression"),
        ("9223372036854775807 + inputs.n", "Arithmetic overflow in 'add' on 9223372036854775807 and 3."),
        ("inputs.l[7]", "index out of bounds: 7"),
        ("steps.a.output[inputs.s]", "no key 'abc' in one of the maps it reads"),
        ("b'x'", "the result is bytes, which is no JSON value; write string(...)"),
        ("timestamp('2024-01-01T00:00:00Z')", "the result is a timestamp, which is no JSON value; write string(...)"),
        ("{1: 2}", "a map has the key 1; keys of JSON are text"),
        ("string(true)", "string() does not take these arguments"),
        ("secrets.NOPE", "there is no secret `NOPE`; set ORCHESTRATOR_SECRET_NOPE where the workers run"),
        ("lists.range(1000000000)", "Function 'lists.range' error: Python function call failed: ValueError: "
                                    "lists.range makes at most 100,000 items"),
    ],
)  # fmt: skip
def test_a_failure_says_what_is_wrong(expression: str, message: str) -> None:
    assert failure(expression) == message


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "is empty"),
        ("1 +", "is not valid CEL at column 4: it ends too early"),
        ("foo", f"unknown name `foo`; {KNOWN}; text goes in quotes: 'foo'"),
        ("input.a", f"unknown name `input` (did you mean inputs?); {KNOWN}"),
        ("nofun(1)", "unknown function `nofun`"),
        ("inputs.s.uperAscii()", "unknown function `uperAscii` (did you mean upperAscii?)"),
        ("steps", "name the step: steps.ID.output"),
        ("steps[inputs.s].output", "name the step: steps.ID.output"),
        ("steps.a", "read steps.a.output, steps.a.status, steps.a.error, steps.a.attempts"),
        ("steps.a.outputs", "steps.a has no `outputs` (did you mean output?); it has output, status, error, attempts"),
        ("steps.a.k", "steps.a has no `k`; it has output, status, error, attempts; "
                      "write steps.a.output.k for a field of the output"),
        ("steps.a.error.msg", "steps.a.error has no `msg`; it has type, message, step, attempt"),
        ("steps.a-b.output", "write steps['a-b'] to read a step whose id has a hyphen"),
        ("run.ids", "run has no `ids` (did you mean id?); it has id, workflow, error"),
        ("secrets", "name the secret: secrets.NAME"),
        ("secrets[inputs.s]", "name the secret: secrets.NAME"),
        ("int(secrets.KEY)", "a secret is not computed with: write ${{ secrets.NAME }} alone, or with text around it"),
        ("[1].map(steps, 1)", "a variable of map or filter may not be called `steps`; choose another name"),
        ("loop.index", "`loop` is a reserved word of CEL"),
        ("1 // x", "has a comment; comments are not allowed in expressions"),
        (".inputs.a", "has a name that starts with a dot"),
        ("Foo{a: 1}", "has a name before `{`; messages are not supported, write a map {'key': value}"),
        ("(" * 33 + "1" + ")" * 33, "has 33 brackets inside one another; the limit is 32"),
        ("1" + "+1" * 257, "has 257 operators and members; the limit is 256"),
        ("steps.a.output.__class__.__mro__()", "unknown function `__mro__`"),
        ("'A' * 10000000000 + nope()", "unknown function `nope`"),
    ],
)  # fmt: skip
def test_a_mistake_is_known_before_there_is_data(expression: str, message: str) -> None:
    (found,) = check(f"${{{{ {expression} }}}}")
    assert found.partition("}}: ")[2] == message
    with pytest.raises(ExpressionError):
        value(expression)


def test_an_expression_has_a_limit_of_bytes() -> None:
    assert "limit is 4,096" in check("${{ '" + "é" * 2100 + "' }}")[0]
    assert check("${{ '" + "e" * 2100 + "' }}") == []
    assert check("${{ 'abcdef' }}", max_bytes=4) == ["${{ 'abcdef' }}: is 8 bytes long; the limit is 4"]


def test_every_mistake_of_a_template_is_listed() -> None:
    found = check({"a": ["${{ foo }} ${{ bar }}", {"b": "${{ baz"}], "c": "fine"})
    assert len(found) == 3


def test_among_text_a_value_becomes_text() -> None:
    text = "${{ inputs.s }} ${{ inputs.n }} ${{ inputs.x }} ${{ inputs.none }} ${{ inputs.b }} ${{ inputs.l }} é"
    assert render(text, SCOPE) == "abc 3 2.5 null true [1,2,3] é"
    assert render("${{ {'ä': 'ö'} }}!", SCOPE) == '{"ä":"ö"}!'


def test_values_are_never_evaluated_again() -> None:
    assert render("${{ '$' + '{{ inputs.n }}' }}", SCOPE) == "${{ inputs.n }}"
    scope = {"inputs": {"t": "${{ inputs.t }}"}}
    assert render(["${{ inputs.t }}", "a ${{ inputs.t }}"], scope) == ["${{ inputs.t }}", "a ${{ inputs.t }}"]


def test_a_nested_template_is_rendered_without_its_keys() -> None:
    template = {"${{ a }}": ["${{ inputs.n }}", {"b": "$${{ inputs.n }}", "c": 5, "d": None}]}
    assert render(template, SCOPE) == {"${{ a }}": [3, {"b": "${{ inputs.n }}", "c": 5, "d": None}]}


def test_a_condition_is_true_or_false() -> None:
    assert evaluate_bool("${{ inputs.n > 2 }}", SCOPE) is True
    assert evaluate_bool(False, SCOPE) is False
    with pytest.raises(ExpressionError, match="must be true or false, and this is an int"):
        evaluate_bool("${{ inputs.n }}", SCOPE)


def test_references_are_what_a_template_reads() -> None:
    found = references({"a": "${{ steps.x.output }} ${{ steps['a-b'].status }}", "b": "${{ inputs.q.map(i, item) }}"})
    assert (found.steps, found.inputs) == ({"x", "a-b"}, {"q"})
    assert (found.names, found.outputs) == ({"steps", "inputs", "item"}, {("x",)})
    assert references("${{ inputs }}").inputs is None
    assert references("${{ inputs[index] }}").inputs is None
    assert references("no expression") == References()
    assert references("${{ 1 + }}") == References()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@quick
@given(JSON)
def test_json_goes_through_cel_unchanged(data: Any) -> None:
    # a plain path is read without CEL, the other one is evaluated
    assert render("${{ inputs.v }}", {"inputs": {"v": data}}) == data
    assert render("${{ [inputs.v][0] }}", {"inputs": {"v": data}}) == data


@quick
@given(JSON)
def test_escaped_text_renders_as_itself(data: Any) -> None:
    def escaped(part: Any) -> Any:
        if isinstance(part, str):
            return escape(part)
        if isinstance(part, list):
            return [escaped(item) for item in part]
        return {key: escaped(item) for key, item in part.items()} if isinstance(part, dict) else part

    assert render(escaped(data), {}) == data
