"""Hostile expressions: refused when the file is checked, or ended within their bounds. Data is never evaluated."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Agent
from orchestrator.errors import ExpressionError
from orchestrator.testing import simulate
from orchestrator.workflow.evaluation import MAX_RESULT_BYTES
from orchestrator.workflow.expressions import check, read_paths, render
from tests.hostile.cases import Case
from tests.unit.workflow.texts import problems_of

echo = Agent("echo")


@echo.task
def say(text: Any) -> dict[str, Any]:
    return {"text": text}


def told(text: str) -> list[str]:
    """The mistakes of a step that gets the text, with a step `a` before and one `later` after it."""
    step = f"{{id: b, agent: echo, task: say, with: {{text: {_quoted(text)}}}}}"
    steps = f"- {{id: a, set: {{x: 1}}}}\n- {step}\n- {{id: later, set: {{}}}}\n"
    return [problem.message for problem in problems_of(steps, None)]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def heard(folder: Path, text: str, **scope: Any) -> Any:
    """What an agent gets for a text under `with`."""
    file = folder / "flow.yaml"
    inputs = "".join(f"  {name}: {{}}\n" for name in scope)
    file.write_text(
        f"name: flow\n{f'inputs:{chr(10)}{inputs}' if scope else ''}"
        f"steps: [{{id: b, agent: echo, task: say, with: {{text: {_quoted(text)}}}}}]\n"
        'outputs: {text: "${{ steps.b.output.text }}"}\n'
    )
    return simulate(file, scope, agents=[echo]).outputs["text"]


@pytest.mark.hostile("X-01")
def test_the_classes_of_python_are_out_of_reach(case: Case) -> None:
    for text in case.variants:
        assert "unknown function `__subclasses__`" in told(text)[0]


@pytest.mark.hostile("X-02")
def test_a_literal_has_no_class(case: Case) -> None:
    for text in case.variants:
        assert "unknown function `__subclasses__`" in told(text)[0]
    with pytest.raises(ExpressionError):
        render("${{ ''.__class__ }}", {})
    with pytest.raises(ExpressionError, match="__class__"):
        render("${{ inputs.x.__class__ }}", {"inputs": {"x": "text"}})


@pytest.mark.hostile("X-03")
def test_the_templates_of_others_are_text(case: Case, tmp_path: Path) -> None:
    for text in case.variants:
        assert heard(tmp_path, text) == text


@pytest.mark.hostile("X-04")
def test_the_loops_of_others_are_text(case: Case, tmp_path: Path) -> None:
    for text in case.variants:
        assert heard(tmp_path, text) == text


def test_data_is_never_looked_at_for_expressions(tmp_path: Path) -> None:
    hostile = "${{ 1 + 1 }} ${{ secrets.X }} {{ 7*7 }}"
    assert heard(tmp_path, "${{ inputs.v }}", v=hostile) == hostile
    assert heard(tmp_path, "got ${{ inputs.v }}", v={hostile: hostile}) == f'got {{"{hostile}":"{hostile}"}}'


@pytest.mark.hostile("X-07")
def test_a_result_has_a_size_before_anybody_holds_it(case: Case) -> None:
    for text in case.variants:
        with pytest.raises(ExpressionError):
            render(text, {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ExpressionError, match=r"larger than 32 MiB|longer than 1 s|GiB of memory"):
        render("${{ inputs.s.replace('x', inputs.s) }}", {"inputs": {"s": "x" * 9000}})
    with pytest.raises(ExpressionError, match="the values of this template are larger than 32 MiB together"):
        render("${{ inputs.s }}" * 10_000, {"inputs": {"s": "x" * 100_000}})
    with pytest.raises(ExpressionError, match="the values of this template are larger than 32 MiB together"):
        render(["${{ inputs.l }}"] * 10_000, {"inputs": {"l": ["x" * 1000] * 100}})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * MAX_RESULT_BYTES / 1024


def test_a_template_may_name_what_a_run_may_hold() -> None:
    scope = {"inputs": {"s": "x" * (8 << 20)}}
    made = render({"a": "${{ inputs.s }}", "b": "${{ inputs.s }}", "c": "${{ size(inputs.s) }}"}, scope)
    assert (len(made["a"]), len(made["b"]), made["c"]) == (8 << 20, 8 << 20, 8 << 20)


@pytest.mark.hostile("X-09")
def test_neither_environment_nor_settings_nor_all_secrets_can_be_read(case: Case) -> None:
    for text in case.variants:
        problems = " ".join(told(text))
        assert "unknown name `env`" in problems
        assert "unknown name `config`" in problems
    assert told("${{ secrets }}")
    assert told("${{ secrets[inputs.x] }}")


@pytest.mark.parametrize(
    "text",
    ["secrets.K.split('').join(' ')", "secrets.K.size()", "secrets.K.startsWith('s')", "has(secrets.K)", "[secrets.K]"],
)
def test_a_secret_is_not_computed_with(text: str) -> None:
    assert told("${{ " + text + " }}")[-1].endswith("write ${{ secrets.NAME }} alone, or with text around it")
    assert check("Bearer ${{ secrets.K }}") == []


@pytest.mark.hostile("X-10")
def test_an_expression_that_does_not_end_is_told(case: Case, tmp_path: Path) -> None:
    for text in case.variants:  # `${` alone is text
        assert heard(tmp_path, text) == text
        assert "`${{` is never closed" in told(text.replace("${", "${{"))[0]
    assert "is not valid CEL at column" in told("${{ inputs. }}")[0]


@pytest.mark.hostile("X-11")
def test_a_step_reads_only_what_is_done_before_it(case: Case) -> None:
    for text in case.variants:
        assert told(text) == ["step 'later' runs only after this step"]


@pytest.mark.hostile("X-12")
def test_what_is_not_there_is_named_and_never_empty(case: Case) -> None:
    for text in case.variants:
        assert "has no field `missing`" in told(text)[0]
        with pytest.raises(ExpressionError, match="has no key `missing`; it has x"):
            render(text, {"steps": {"a": {"output": {"x": 1}}}})


@pytest.mark.hostile("X-14")
def test_an_expression_is_so_long_and_so_deep_and_no_more(case: Case) -> None:
    for text in case.variants:
        long = text.replace("${", "${{ ").replace("}", " }}")
        assert "is never closed; end it with `}}` within 8,192 characters" in check(long)[0]
    assert "is 5,001 bytes long; the limit is 4,096" in check("${{ " + "(" * 2500 + "1" + ")" * 2500 + " }}")[0]
    assert "has 300 commas; the limit is 256" in check("${{ [" + "1," * 300 + "1] }}")[0]
    assert "has 33 brackets inside one another; the limit is 32" in check("${{ " + "(" * 33 + "1" + ")" * 33 + " }}")[0]
    with pytest.raises(ExpressionError, match="the limit is 32"):
        render("${{ " + "(" * 2000 + "1" + ")" * 2000 + " }}", {})


@pytest.mark.hostile("X-15")
def test_literal_text_arrives_as_it_is(case: Case, tmp_path: Path) -> None:
    for text in case.variants:
        assert heard(tmp_path, text) == text.replace("$${{", "${{")


@pytest.mark.parametrize(
    "expression",
    [
        "inputs.l.map(a, [inputs.l][0].map(b, a * b))",
        "inputs.l.all(a, [inputs.l][0].all(b, [inputs.l][0].all(c, a + b + c >= 0)))",
        "inputs.lists.map(a, a.map(b, a))",
    ],
)
def test_comprehensions_whose_items_are_known_only_later_are_ended(expression: str) -> None:
    start = time.monotonic()
    scope = {"inputs": {"l": [*range(1000)], "lists": [[*range(1000)]] * 1000}}
    with pytest.raises(ExpressionError, match="shape large data in an agent or a foreach"):
        render("${{ " + expression + " }}", scope, limit_s=0.5)
    assert time.monotonic() - start < 5


def test_comprehensions_are_nested_four_deep_and_no_deeper() -> None:
    def nested(depth: int) -> str:
        return "[1].exists(a, " * depth + "true" + ")" * depth

    assert render("${{ " + nested(4) + " }}", {}) is True
    assert "has 5 comprehensions inside one another; the limit is 4" in check("${{ " + nested(5) + " }}")[0]


def test_a_comprehension_goes_over_so_many_items_and_no_more() -> None:
    start = time.monotonic()
    scope = {"inputs": {"l": [*range(1000)], "all": [0] * 100_000}}
    for body in ("map(a, inputs.l.map(b, a * b))", "filter(a, inputs.all.exists(b, a == b))"):
        with pytest.raises(ExpressionError, match=r"goes over .* items; the limit is 100,000; shape large data in an"):
            render("${{ inputs.l." + body + " }}", scope)
    assert time.monotonic() - start < 0.5, "it was computed first"
    assert render("${{ inputs.all.exists(b, b == 0) && inputs.l.exists(b, b == 999) }}", scope) is True


def test_a_page_reads_paths_and_computes_nothing() -> None:
    scope = {"inputs": {"l": list(range(1000)), "s": "x"}}
    template = {"a": "${{ inputs.s }}", "b": "${{ inputs.l.map(x, x) }}", "c": "${{ inputs.s }} ${{ 1 + 1 }}"}
    assert read_paths(template, scope) == {"a": "x", "b": "${{ inputs.l.map(x, x) }}", "c": "x ${{ 1 + 1 }}"}
    with pytest.raises(ExpressionError, match="inputs"):
        read_paths("${{ inputs.gone }}", scope)
