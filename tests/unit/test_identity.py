"""Keys: what follows from what, and files that are none."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

import pytest

from orchestrator.errors import SenderMismatch, SettingsInvalid
from orchestrator.identity import Key, read_key, write_key
from orchestrator.settings import Settings


def test_the_key_of_an_agent_follows_from_the_installations() -> None:
    installation = Key.new()
    assert installation.of("ada").secret == hmac.new(installation.secret, b"agent:ada", hashlib.sha256).digest()
    assert installation.of("ada") == installation.of("ada").of("ada")
    assert len({installation.secret, installation.of("ada").secret, installation.of("bob").secret}) == 3
    assert Key.new() != Key.new()


def test_an_agents_key_gives_no_other() -> None:
    with pytest.raises(SenderMismatch, match="'boss' cannot be said with the key of 'intern'"):
        Key.new().of("intern").of("boss")


def test_a_key_is_written_for_its_user_alone_and_never_over_another(tmp_path: Path) -> None:
    key = Key.new().of("ada")
    write_key(tmp_path / "ada.key", key)
    assert (tmp_path / "ada.key").stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "ada.key") == key
    with pytest.raises(FileExistsError):
        write_key(tmp_path / "ada.key", Key.new())
    assert read_key(tmp_path / "ada.key") == key


def test_a_key_does_not_show_itself() -> None:
    key = Key.new()
    assert key.secret.hex() not in repr(key)
    assert str(key.secret) not in repr(key)


@pytest.mark.parametrize(
    "text",
    ["", "secret", "orchestrator-key-1 installation " + "0" * 63, "orchestrator-key-2 installation " + "0" * 64,
     "orchestrator-key-1 agent a/b " + "0" * 64, "orchestrator-key-1 agent ada bob " + "0" * 64, "\0" * 10_000_000],
    ids=["empty", "one word", "short", "version", "name", "two names", "huge"],
)  # fmt: skip
def test_a_file_without_a_key_is_one_line_that_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    file = tmp_path / "some.key"
    file.touch(0o600)
    file.write_text(text)
    monkeypatch.setenv("ORCHESTRATOR_KEY_FILE", str(file))
    with pytest.raises(SettingsInvalid) as found:
        Settings.load()
    assert str(found.value).endswith(f"{file} holds no key; orchestrator keys makes one")
    assert "0000" not in str(found.value)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_key(tmp_path / "some.key", Key.new())
    (tmp_path / "some.key").chmod(0o640)
    monkeypatch.setenv("ORCHESTRATOR_KEY_FILE", str(tmp_path / "some.key"))
    with pytest.raises(SettingsInvalid, match=r"ORCHESTRATOR_KEY_FILE: others may read .*; chmod 600 "):
        Settings.load()
    monkeypatch.setenv("ORCHESTRATOR_KEY_FILE", str(tmp_path / "none.key"))
    with pytest.raises(SettingsInvalid, match="cannot be read: No such file or directory"):
        Settings.load()


def test_a_signature_may_not_outlive_the_memory_of_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_REPLAY_WINDOW_S", "86401")
    with pytest.raises(SettingsInvalid, match=r"REPLAY_WINDOW_S: .* above ORCHESTRATOR_MESSAGE_RETENTION_S"):
        Settings.load()


def test_a_pipe_is_no_key_and_nobody_waits_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ValueError, match="holds no key"):
        read_key(tmp_path / "pipe")
