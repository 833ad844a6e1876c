"""Cells and tables that no text can break."""

from __future__ import annotations

import pytest

from workers.markdown import bar, code, plain, table, visible


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("src/a.py", "`src/a.py`"),
        ("a`b", "``a`b``"),
        ("`a", "`` `a ``"),
        ("``", "``` `` ```"),
        (" a", "`  a `"),
        ("a|b", "<code>a&#124;b</code>"),
        (r"a\|b", "<code>a&#92;&#124;b</code>"),
        ("<b>|</b>", "<code>&#60;b&#62;&#124;&#60;/b&#62;</code>"),
        ("two\nlines\r\t\x1b[31m", "`two␊lines␍␉␛[31m`"),
        ("evil\u202etxt\u2028\x85", "`evil\ufffdtxt\ufffd\ufffd`"),
        ("", ""),
    ],
)
def test_code_shows_any_text_as_it_is(text: str, markdown: str) -> None:
    assert code(text) == markdown


def test_plain_text_has_nothing_that_acts() -> None:
    assert plain("Zoë O'Neil") == "Zoë O'Neil"
    assert plain("[x](y) | <b> *") == "&#91;x&#93;(y) &#124; &#60;b&#62; &#42;"


def test_long_text_loses_its_middle() -> None:
    assert len(visible("a" * 200 + "/end.py")) == 160
    assert visible("a" * 200 + "/end.py").endswith("a/end.py")


def test_numbers_line_up_on_the_right() -> None:
    assert table(("File", "Commits"), [("a", 5), ("long", 12345)]) == (
        "| File | Commits |\n"
        "| ---- | ------: |\n"
        "| a    |       5 |\n"
        "| long |   12345 |"
    )  # fmt: skip


def test_a_table_without_rows_says_so() -> None:
    assert table(("File",), []) == "None."


def test_a_bar_shows_the_share_and_hides_nothing() -> None:
    assert (len(bar(100, 100)), len(bar(50, 100)), len(bar(1, 10**9)), bar(0, 0)) == (24, 12, 1, "")
