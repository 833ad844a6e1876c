"""What was told of `secrets` leaves an attempt in no form that can be known again."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from orchestrator.agents.secrets import Secrets

LONG = "sk-live-" + "".join(chr(97 + number % 26) for number in range(90))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Secrets]:
    def tell(value: str) -> Secrets:
        monkeypatch.setenv("ORCHESTRATOR_SECRET_KEY", value)
        secrets = Secrets()
        assert secrets["KEY"] == value
        return secrets

    return tell


@pytest.mark.parametrize("secret", ["hush", 'two"quotes\' and \\', "line\nbreak", "ünï", "a/b c&d"])
def test_a_secret_is_taken_out_as_it_is_and_as_others_write_it(told: Callable[[str], Secrets], secret: str) -> None:
    secrets = told(secret)
    for text in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")):
        assert secrets.redact(f"<{text}>") == "<***>"


@pytest.mark.parametrize("kept", [16, 40, 97])
def test_the_ends_of_a_secret_that_was_cut_short_are_taken_out(told: Callable[[str], Secrets], kept: int) -> None:
    secrets = told(LONG)
    assert secrets.redact(f"it is '{LONG[:kept]}...{LONG[-kept:]}'") == "it is '***...***'"


def test_a_few_letters_that_a_secret_begins_with_are_no_secret(told: Callable[[str], Secrets]) -> None:
    assert told(LONG).redact("sk-live-abc") == "sk-live-abc"


def test_each_line_of_a_key_is_a_secret(told: Callable[[str], Secrets]) -> None:
    lines = ["-----BEGIN KEY-----", "MIIEpAIBAAKCAQEA7", "-----END KEY-----"]
    assert told("\n".join(lines)).redact(f"line 2: {lines[1]}") == "line 2: ***"


def test_a_value_keeps_its_shape_and_its_numbers(told: Callable[[str], Secrets]) -> None:
    secrets = told("12")
    text = json.dumps({"a": [12, "x12x", {"12": None, "ok": True}], "big": 2**60})
    assert json.loads(secrets.redact_json(text)) == {"a": [12, "x***x", {"***": None, "ok": True}], "big": 2**60}


def test_what_was_not_asked_for_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_SECRET_KEY", "hush")
    assert Secrets().redact("hush") == "hush"
    assert Secrets().redact_json('{"a": "hush"}') == '{"a": "hush"}'
