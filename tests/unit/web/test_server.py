"""Where Flower runs, and the file with the link."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import Settings
from orchestrator.errors import SettingsInvalid
from orchestrator.hosts import is_loopback, is_number
from orchestrator.web.server import Access, FlowerServer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "state")


def token_of(link: str) -> str:
    return link.partition("?token=")[2]


@contextmanager
def listening(port: int) -> Iterator[None]:
    """As Flower does."""
    with socket.create_server(("127.0.0.1", port)):
        yield


def test_the_link_is_kept_for_this_user_alone(settings: Settings) -> None:
    server = FlowerServer(settings, 0)
    before = os.umask(0)
    try:
        server.announce()
    finally:
        os.umask(before)
    assert server.file.read_text() == server.link + "\n"
    assert stat.S_IMODE(server.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.file.parent.stat().st_mode) == 0o700
    assert list(server.file.parent.iterdir()) == [server.file], "nothing else is left"


def test_a_flower_that_was_killed_goes_on_with_the_link_of_the_file(settings: Settings) -> None:
    server = FlowerServer(settings, 0)
    server.announce()
    first = token_of(server.link)
    keyring = server.keyring()
    assert keyring is not None
    assert keyring.token == first
    assert keyring.open(first)
    server.renew(keyring)

    again = server.keyring()
    assert again is not None
    assert again.token == keyring.token == token_of(server.file.read_text().strip())
    assert again.open(first) is None, "what was used stays used"


def test_a_flower_whose_file_is_gone_makes_a_new_link(settings: Settings) -> None:
    server = FlowerServer(settings, 0)
    server.announce()
    server.withdraw()
    assert not server.file.exists()
    keyring = server.keyring()
    assert keyring is not None
    assert keyring.token != token_of(server.link)
    assert token_of(server.file.read_text().strip()) == keyring.token


def test_links_of_others_stay_as_long_as_they_listen(settings: Settings) -> None:
    first, second = FlowerServer(settings, 0), FlowerServer(settings, 0)
    with listening(first.port):
        first.announce()
        second.announce()
        assert second.file.read_text().split() == [second.link, first.link]
        second.withdraw()
        assert second.file.read_text().split() == [first.link]
    second.announce()
    assert second.file.read_text().split() == [second.link], "the first was killed"


def test_a_login_needs_no_link(settings: Settings) -> None:
    server = FlowerServer(settings, 0, Access(credentials=("ada:secret",)))
    server.announce()
    assert server.keyring() is None
    assert not server.file.exists()
    assert server.link == f"http://127.0.0.1:{server.port}/"
    server.withdraw()


def test_addresses_that_others_reach_need_a_login(settings: Settings) -> None:
    with pytest.raises(SettingsInvalid, match="ask for a login too"):
        FlowerServer(settings, 0, address="0.0.0.0")
    server = FlowerServer(settings, 0, Access(oauth=True), address="0.0.0.0", prefix="/team/", scheme="https")
    assert server.link == f"https://127.0.0.1:{server.port}/team/"


def test_a_port_that_is_taken_and_an_address_of_another_machine_are_said(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingsInvalid, match="--port takes another"):
        FlowerServer(settings, taken.getsockname()[1])
    with pytest.raises(SettingsInvalid, match="none of this machine"):
        FlowerServer(settings, 0, Access(oauth=True), address="203.0.113.7")


def test_hosts() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "10.0.0.1", "evil.example", "", "127.0.0.1.evil")] == [False] * 5
    assert [is_number(host) for host in ("10.0.0.1", "::2", "evil.example", "10.0.0.1.nip.io")] == [
        True, True, False, False,
    ]  # fmt: skip
