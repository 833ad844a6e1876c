"""What was told of `secrets` leaves an attempt in no form that can be known again."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from orchestrator.agents.masks import Mask
from orchestrator.agents.secrets import Secrets, kept_secrets

LONG = "sk-live-" + "".join(chr(97 + number % 26) for number in range(90))


class Kept(BaseModel):
    key: str


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Secrets]:
    def tell(value: str) -> Secrets:
        monkeypatch.setenv("ORCHESTRATOR_SECRET_KEY", value)
        secrets = Secrets()
        assert secrets["KEY"] == value
        return secrets

    return tell


SECRETS = ["hush", 'two"quotes\' and \\', "line\nbreak", "ünï", "a/b c&d", "aGVsbG8/d29y+bGQhIQ==", 'pa"ss-wörd-1234']


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_taken_out_as_it_is_and_as_others_write_it(told: Callable[[str], Secrets], secret: str) -> None:
    texts = (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    addresses = (quote(secret, safe=""), quote(secret), quote_plus(secret))
    lower = [re.sub("%..", lambda found: found.group().lower(), address) for address in addresses]
    slashed = [text.replace("/", "\\/") for text in texts]
    twice = [json.dumps(text, ensure_ascii=False)[1:-1] for text in texts]
    for text in (secret, repr(secret)[1:-1], *texts, *addresses, *lower, *slashed, *twice):
        assert told(secret).redact(f"<{text}>") == "<***>"


def test_the_line_end_of_a_mounted_file_is_no_part_of_a_secret(told: Callable[[str], Secrets]) -> None:
    assert told("short-pw\n").redact("short-pw, short-pw\n.") == "***, ***."


def test_it_takes_a_time_that_grows_with_the_length_alone(told: Callable[[str], Secrets]) -> None:
    secrets, start = told(LONG), time.process_time()
    for piece in (LONG[:17] + "|", LONG[-17:] + "|"):
        assert secrets.redact(piece * 100_000) == "***|" * 100_000
    assert time.process_time() - start < 4


@given(st.text(min_size=1).filter(lambda text: "*" not in text), st.text(), st.text())
def test_what_was_told_stands_in_no_text(secret: str, before: str, after: str) -> None:
    assert all(secret not in part for part in Mask(frozenset({secret})).text(before + secret + after).split("***"))


def test_a_model_and_the_names_in_an_object_are_looked_at(told: Callable[[str], Secrets]) -> None:
    found = told("hush").redact_value({"a": Kept(key="hush"), "hush": 1, 2: ("hush", None, 1.5)})
    assert found == {"a": {"key": "***"}, "***": 1, 2: ["***", None, 1.5]}


def test_ids_stay_apart(told: Callable[[str], Secrets]) -> None:
    secrets = told("hush")
    one, other = secrets.redact_id("1-hush"), secrets.redact_id("2-hush")
    assert one.startswith("1-***")
    assert (one == other, "hush" in one + other, secrets.redact_id("plain")) == (False, False, "plain")


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


def test_what_was_not_asked_for_is_taken_out_too_unless_it_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_SECRET_KEY", "hush")
    monkeypatch.setenv("ORCHESTRATOR_SECRET_LONG", "hush-hush")
    secrets = Secrets(kept_secrets())
    assert secrets.redact("hush, hush-hush") == "hush, ***"
    assert json.loads(secrets.redact_json('{"a": "hush", "b": "hush-hush"}')) == {"a": "hush", "b": "***"}
