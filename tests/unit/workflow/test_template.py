from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.workflow.template import Expr, Unclosed, escape, split
from tests.unit.workflow.texts import quick


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", ("",)),
        ("plain {{ x }} $5 {% y %}", ("plain {{ x }} $5 {% y %}",)),
        ("${{ a }}", (Expr("a"),)),
        ("${{a}}", (Expr("a"),)),
        ("x ${{ a }} y ${{ b }}", ("x ", Expr("a"), " y ", Expr("b"))),
        ("${{ a }}${{ b }}", (Expr("a"), Expr("b"))),
        ("${{ {'a': {'b': 1}} }}", (Expr("{'a': {'b': 1}}"),)),
        ("${{ {'a': 1}}}", (Expr("{'a': 1}"),)),
        ("${{ '}}' + \"}}\" }}", (Expr("'}}' + \"}}\""),)),
        ("${{ 'it\\'s }}' }}", (Expr("'it\\'s }}'"),)),
        (r"${{ r'\' + 'x' }}", (Expr(r"r'\' + 'x'"),)),
        ("${{ '''a'}}''' }}", (Expr("'''a'}}'''"),)),
        ("$${{ a }}", ("${{ a }}",)),
        ("$$${{ a }}", ("$${{ a }}",)),
        ("$${{ ${{ a }} }}", ("${{ ", Expr("a"), " }}")),
        ("${{ a }} }}", (Expr("a"), " }}")),
        ("${{ }}", (Expr(""),)),
    ],
)  # fmt: skip
def test_a_text_is_split_at_its_expressions(text: str, pieces: tuple[str | Expr, ...]) -> None:
    assert split(text) == pieces


@pytest.mark.parametrize("text", ["${{ a", "${{ a }", "${{ (a }}", "${{ '}}", "x ${{ a }} ${{"])
def test_an_expression_that_does_not_end_is_a_mistake(text: str) -> None:
    if text == "${{ '}}":  # a lone quote ends nothing: the expression is `'`, which CEL will refuse
        assert split(text) == (Expr("'"),)
        return
    with pytest.raises(Unclosed):
        split(text)


@quick
@given(st.text(alphabet="$ {}'\"ab\\", max_size=30) | st.text())
def test_what_is_escaped_comes_back_as_text(text: str) -> None:
    assert split(escape(text)) == (text,)


@quick
@given(st.lists(st.text(alphabet="ab $x", max_size=5) | st.sampled_from([Expr("inputs.a"), Expr("{'a': '}}'}")])))
def test_joined_pieces_are_split_again(pieces: list[str | Expr]) -> None:
    text = "".join(escape(p) + "|" if isinstance(p, str) else f"${{{{ {p.source} }}}}" for p in pieces)
    expected = [piece for piece in split(text) if isinstance(piece, Expr)]
    assert expected == [piece for piece in pieces if isinstance(piece, Expr)]
