from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from orchestrator.workflow.yaml_events import events
from orchestrator.workflow.yaml_values import YamlMistake, read_yaml
from tests.unit.workflow.texts import quick


def mistake(text: str) -> tuple[int, str]:
    with pytest.raises(YamlMistake) as caught:
        read_yaml(text)
    return caught.value.line, caught.value.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("true", True), ("False", False), ("~", None),
        ("12", 12), ("-7", -7), ("0o17", 15), ("0xFF", 255), ("017", 17), ("1_000", "1_000"), ("1e3", 1000.0),
        (".5", 0.5), ("1.", 1.0), ("2024-01-01", "2024-01-01"), ("12:30", "12:30"), ("'12'", "12"), ('"true"', "true"),
        ("9223372036854775807", 2**63 - 1), ("<<", "<<"), ("{a: b}", {"a": "b"}), ("[]", []),
    ],
)  # fmt: skip
def test_a_scalar_is_read_by_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    read = read_yaml(f"v: {text}")[0]["v"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", [".nan", ".inf", "-.INF", "1e999", "9223372036854775808", "9" * 5000])
def test_a_number_that_json_cannot_say_is_refused(text: str) -> None:
    line, message = mistake(f"a: 1\nv: {text}")
    assert line == 2
    assert "quotes" in message


def test_a_key_that_is_there_twice_names_both_lines() -> None:
    assert mistake("a: 1\nb: 2\na: 3") == (3, "the key 'a' is there twice; the first one is in line 1")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("a: !!python/name:os.system x", 1, "tag"),
        ("a: !!str 5", 1, "tag"),
        ("a: &x [*x]", 1, "alias"),
        ("? [a]\n: 1", 1, "key"),
        ("1: a", 1, "key"),
        ('a: "\\ud800"', 1, "surrogate"),
        ("a: 1\nb: \x00", 2, "U+0000"),
        ("a: 1\nb: \ud800", 2, "U+D800"),
        ("", 1, "empty"),
        ("a: [1, 2", 1, "no YAML"),
        ("a:\n\t- 1", 2, "tab"),
        ("[" * 10000, 1, "nested"),
        ("".join("  " * i + "k:\n" for i in range(400)), 202, "nested"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    found_line, message = mistake(text)
    assert words in message
    assert found_line == line


def test_an_alias_stands_for_its_anchor() -> None:
    assert read_yaml("a: &x [1, 2]\nb: *x")[0] == {"a": [1, 2], "b": [1, 2]}


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"{c}: &{c} [{','.join([f'*{p}'] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))
    assert "aliases" in mistake(bomb)[1]


def test_each_value_has_its_line() -> None:
    _, lines = read_yaml("name: x\nsteps:\n  - id: a\n    with:\n      t: 1\n  - {id: b}\n")
    assert lines.line(("steps", 0, "with", "t")) == 5
    assert lines.line(("steps", 1, "id")) == 6
    assert lines.line(("steps", 0, "with", "not", "there")) == 4
    assert lines.line(("nothing",)) == 1


@quick
@given(st.text() | st.text(alphabet="ab:-{}[],#&*!|>'\" \n\t?%0.", max_size=60))
@example("\x85")
@example("- \ufeff")
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value, _ = read_yaml(text)
    except YamlMistake as error:
        line, message = error.line, error.message
    else:
        assert _is_json(value)
        return
    assert 1 <= line <= len(text) + 1
    assert "\n" not in message


PIECES = [
    "a", "b: ", "- ", "  ", "\n", "\n  ", "\n    ", "{", "}", "[", "]", ", ", ": ", ":", "'", '"', "#", " #c", "|",
    "> ", "? ",
    "&x ", "*x", "!t ", "---", "...", "%YAML 1.2\n", "\t", "é", "x-y", "1.5", "\r\n", "\\", "~", "\ufeff", "\x85",
    "\u2028", "a b", "key: value\n", "- item\n", "{a: b, c}", "[1, 2]", "|\n  text\n", "'q'", ">\n  two\n  lines\n",
]  # fmt: skip


@quick
@given(st.lists(st.sampled_from(PIECES), max_size=16).map("".join))
def test_the_faster_scanner_gives_the_events_of_the_library(text: str) -> None:
    assert _outcome(events(text)) == _outcome(YAML(typ="safe", pure=True).parse(text))


def _outcome(stream: Any) -> list[Any]:
    found: list[Any] = []
    try:
        for event in stream:
            marks = (event.start_mark.line, event.start_mark.column, event.end_mark.line, event.end_mark.column)
            rest = [getattr(event, name, None) for name in ("value", "anchor", "implicit", "style")]
            found.append((type(event), *marks, *rest, str(getattr(event, "tag", None))))
    except MarkedYAMLError as error:
        found.append((type(error), error.problem, error.problem_mark.line if error.problem_mark else None))
    except YAMLError as error:
        found.append(type(error))
    except (AttributeError, TypeError, ValueError) as error:  # the library's own bugs stay what they are
        found.append(type(error))
    return found


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))
