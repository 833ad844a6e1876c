from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.workflow.cel_source import CelSource
from tests.unit.workflow.texts import quick


def paths(text: str) -> list[str]:
    return [str(path) for path in CelSource(text).paths]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("inputs.a.b", ["inputs.a.b"]),
        ("steps['a-b'].output", ["steps['a-b'].output"]),
        ('steps["a"].output', ["steps.a.output"]),
        ("inputs.a + steps.b.output[0].c", ["inputs.a", "steps.b.output"]),
        ("inputs[item]", ["inputs", "item"]),
        ("inputs.a.size() > size(inputs.b)", ["inputs.a", "inputs.b"]),
        ("inputs.l.map(x, x.k + item)", ["inputs.l", "item"]),
        ("x + inputs.l.filter(x, x > 1)[0]", ["x", "inputs.l"]),
        ("inputs.l.map(x, x.map(y, x + y + z))", ["inputs.l", "z"]),
        ("'inputs.a' + r'inputs.b'", []),
        ("{'inputs': 1}.inputs", []),
        ("{a: 1}", ["a"]),
        ("math.greatest(1, inputs.a)", ["inputs.a"]),
        ("true && null in [false]", []),
        ("inputs . a", ["inputs.a"]),
    ],
)  # fmt: skip
def test_the_paths_that_are_read_are_found(text: str, found: list[str]) -> None:
    assert paths(text) == found


def test_a_path_knows_whether_it_is_tested_or_goes_on() -> None:
    tested, dynamic = CelSource("has(inputs.a) && inputs.b[index]").paths[:2]
    assert (tested.tested, tested.dynamic) == (True, False)
    assert (dynamic.tested, dynamic.dynamic) == (False, True)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("inputs.a", True), (" steps['x'].output.b ", True), ("inputs.a[0]", False), ("inputs.a + 1", False),
     ("(inputs.a)", False), ("inputs.a.size()", False), ("1", False), ("", False)],
)  # fmt: skip
def test_a_plain_path_is_known(text: str, plain: bool) -> None:
    assert (CelSource(text).plain is not None) is plain


def test_functions_are_found_without_macros() -> None:
    source = CelSource("size(inputs.l.map(x, x.split(','))) + math.abs(1) + 'a'.size()")
    assert source.functions == ("size", "split", "math.abs")


@pytest.mark.parametrize(
    ("text", "depth"),
    [("1", 0), ("[1].map(x, x)", 1), ("[1].map(x, x).filter(y, y)", 1), ("[1].map(x, [2].map(y, [3].all(z, z)))", 3)],
)
def test_comprehensions_inside_one_another_are_counted(text: str, depth: int) -> None:
    assert CelSource(text).macro_depth == depth


@quick
@given(st.text() | st.text(alphabet="ab.()[]{}'\"+, \\:?map", max_size=40))
def test_any_text_can_be_looked_at(text: str) -> None:
    source = CelSource(text)
    for look in ("paths", "functions", "nesting", "links", "macro_depth", "plain", "leading_dot", "scanning"):
        getattr(source, look)
    assert "".join(token.text for token in source.tokens) == "".join(text.split()) or any(c.isspace() for c in text)
