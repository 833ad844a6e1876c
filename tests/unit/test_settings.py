"""Settings that stand in keys and in the accounts of a server."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cli.hardening import write_accounts
from orchestrator.errors import SettingsInvalid
from orchestrator.settings import Settings
from orchestrator.store.connection import database_of


@pytest.mark.parametrize("prefix", ["", "a* ~* +@all ", "a?", "x y", "a\nuser x on nopass ~*", "[a]", "é:", "a" * 65])
def test_a_prefix_is_plain(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("ORCHESTRATOR_PREFIX", prefix)
    with pytest.raises(SettingsInvalid, match=r"ORCHESTRATOR_PREFIX: .*is no row of 1 to 64 letters"):
        Settings.load()


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("redis://h:1/3", 3), ("redis://h", 0), ("redis://h/?db=3", 3), ("rediss://h:1/2", 2),
        ("redis+socket:///run/redis/6379", 0), ("redis+socket:///run/redis.sock?virtual_host=2", 2),
        ("unix:///run/6379?db=4", 4), ("sentinel://a:1,b:2/main/5", 5),
    ],
)  # fmt: skip
def test_the_database_is_that_of_the_url(url: str, number: int) -> None:
    assert database_of(url) == number


def test_the_accounts_are_for_the_channels_of_that_database(tmp_path: Any) -> None:
    folder = tmp_path / 'a "quoted" folder'
    write_accounts(Settings(url="redis+socket:///run/redis/6379?db=2"), folder)
    assert "&/2.celery.pidbox" in (folder / "users.acl").read_text()
    assert 'aclfile "' + str(folder).replace('"', '\\"') + '/users.acl"' in (folder / "server.conf").read_text()


def test_a_mistake_begins_with_its_setting_and_not_with_how_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_URL", "http://localhost")
    with pytest.raises(SettingsInvalid, match=r"^ORCHESTRATOR_URL: starts with none of "):
        Settings.load()
