"""`orchestrator keys`, and what `doctor` and a worker say of signatures."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator import Client
from orchestrator.cli.app import main
from orchestrator.cli.doctor import judge_signing
from orchestrator.identity import Key, read_key, write_key
from orchestrator.runtime.lifecycle import check_key
from orchestrator.settings import Settings
from tests.conftest import KEYS

Shown = pytest.CaptureFixture[str]


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installation's, which the commands use."""
    write_key(tmp_path / "installation.key", Key.new())
    monkeypatch.setenv("ORCHESTRATOR_KEY_FILE", str(tmp_path / "installation.key"))
    return tmp_path / "installation.key"


def test_create_writes_a_key_or_shows_it_once(tmp_path: Path, capsys: Shown) -> None:
    file = tmp_path / "new.key"
    assert main(["keys", "create", "--file", str(file)]) == 0
    told = capsys.readouterr()
    assert read_key(file).agent is None
    assert read_key(file).secret.hex() not in told.out + told.err
    assert main(["keys", "create", "--file", str(file)]) == 2
    assert capsys.readouterr().err == f"{file} was not written: File exists\n"
    assert main(["keys", "create"]) == 0
    assert capsys.readouterr().out.startswith("orchestrator-key-1 installation ")


def test_issue_gives_the_key_of_one_agent(key_file: Path, tmp_path: Path, capsys: Shown) -> None:
    assert main(["keys", "issue", "ada"]) == 0
    assert capsys.readouterr().out == read_key(key_file).of("ada").line + "\n"
    assert main(["keys", "issue", "ada", "--json", "--file", str(tmp_path / "ada.key")]) == 0
    assert json.loads(capsys.readouterr().out) == {"agent": "ada", "file": str(tmp_path / "ada.key")}
    assert read_key(tmp_path / "ada.key") == read_key(key_file).of("ada")


def test_only_the_installations_key_issues_others(
    key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    write_key(tmp_path / "ada.key", read_key(key_file).of("ada"))
    monkeypatch.setenv("ORCHESTRATOR_KEY_FILE", str(tmp_path / "ada.key"))
    for words in (["issue", "boss"], ["adopt"]):
        assert main(["keys", *words]) == 2
        assert "name the file with the installation's key" in capsys.readouterr().err
    monkeypatch.delenv("ORCHESTRATOR_KEY_FILE")
    assert main(["keys", "issue", "boss"]) == 2
    assert main(["keys", "issue"]) == main(["keys", "create", "ada"]) == main(["keys", "destroy"]) == 2
    assert main(["keys", "issue", "a b"]) == 2


def test_adopt_signs_what_waits(
    key_file: Path, client: redis.Redis, server: Any, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    without = Client(Settings(home=server.home, prefix=KEYS.prefix, key_file=None))
    without.office.directory.register("ada")
    sent = without.send("ada", "from before").message_id
    client.set(KEYS.message("aaa"), "no record")
    client.hset(KEYS.message("bbb"), "state", "pending")
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(server.home))
    monkeypatch.setenv("ORCHESTRATOR_PREFIX", KEYS.prefix)
    assert main(["keys", "adopt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"signed": 1}
    assert client.hget(KEYS.message(sent), "signature")
    client.delete(KEYS.message("aaa"), KEYS.message("bbb"))


def test_doctor_says_whether_messages_are_signed(key_file: Path, tmp_path: Path) -> None:
    assert judge_signing(Settings(key_file=None)).status == "ok"
    found = judge_signing(Settings(key_file=None, url="redis://elsewhere"))
    assert (found.status, found.detail) == (
        "warn", "not signed: whoever may write to the server can speak for any agent",
    )  # fmt: skip
    assert "orchestrator keys create" in found.advice
    assert judge_signing(Settings(url="redis://elsewhere")).detail == "signed with the key of the installation"
    write_key(tmp_path / "ada.key", read_key(key_file).of("ada"))
    assert judge_signing(Settings(key_file=tmp_path / "ada.key")).detail == "signed with the key of the agent ada"


def test_a_worker_says_once_that_messages_are_not_signed(
    key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        check_key(Settings(key_file=None))
        check_key(Settings(url="redis://elsewhere"))
        assert caplog.messages == []
        check_key(Settings(key_file=None, url="redis://elsewhere"))
    (line,) = caplog.messages
    assert line.startswith("messages are not signed: whoever may write to the server can speak for any agent")


@pytest.mark.parametrize("command", ["worker", "up"])
def test_a_worker_refuses_the_key_of_one_agent(
    command: str, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    write_key(tmp_path / "ada.key", read_key(key_file).of("ada"))
    monkeypatch.setenv("ORCHESTRATOR_KEY_FILE", str(tmp_path / "ada.key"))
    (tmp_path / "team.py").write_text("from orchestrator import Agent\nada = Agent('ada')\n")
    assert main([command, "--agents", str(tmp_path / "team.py")]) == 2
    told = capsys.readouterr().err
    assert told == "ORCHESTRATOR_KEY_FILE: that is the key of ada; a worker needs the installation's.\n"
