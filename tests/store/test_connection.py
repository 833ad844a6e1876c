"""Clients of the store's server: URLs, deadlines, errors, forks, and a server that was killed."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from orchestrator.errors import SettingsInvalid, StoreUnavailable
from orchestrator.settings import Settings
from orchestrator.store import embedded, server_process
from orchestrator.store.connection import blocking, connect, guard, leave, server_url
from tests.waiting import wait_until


@pytest.fixture
def url(home: Path) -> Iterator[str]:
    url = server_url(Settings(home=home))
    yield url
    leave(url)


def is_gone_or_replaced(home: Path, pid: int | None) -> bool:
    """Whether that very process has ended, not only its guard: the lock that it holds says so."""
    return not server_process.is_held(home / "server.lock") or (home / "server.lock").read_text() != str(pid)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where somebody listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_one_client_for_a_process_and_url(url: str) -> None:
    client = connect(url, deadline_s=5)
    assert client.set("ä", "ö")
    assert connect(url, deadline_s=5) is client
    assert client.get("ä") == "ö"
    child = os.fork()
    if child == 0:
        own = connect(url, deadline_s=5)
        os._exit(0 if own is not client and own.get("ä") == "ö" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.get("ä") == "ö"


@pytest.mark.parametrize("victims", ["server", "server and guard"])
def test_the_next_command_of_a_client_starts_a_killed_server_again(url: str, home: Path, victims: str) -> None:
    client = connect(url, deadline_s=5)
    client.set("a", "1")
    before = embedded.status(home)
    for pid in (before.guard_pid, before.pid)[0 if "guard" in victims else 1 :]:
        assert pid
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone_or_replaced(home, before.pid), what="the server is gone", timeout_s=10)
    assert client.get("a") == "1"


def test_leaving_stops_the_server(url: str, home: Path) -> None:
    assert server_url(Settings(home=home)) == url
    leave(url)
    wait_until(lambda: not embedded.status(home).running, what="the server stops", timeout_s=10)


def test_a_blocking_command_outlasts_the_deadline_of_others(url: str) -> None:
    waiting = blocking(url, block_s=1.2, deadline_s=0.5)
    assert waiting.blpop(["nothing"], timeout=1) is None


@pytest.mark.parametrize("scheme", ["unix://{}", "redis+socket://{}", "unix://{}?db=1", "redis+socket://{}?virtual_host=1"])
def test_urls_of_sockets(url: str, home: Path, scheme: str) -> None:
    client = connect(scheme.format(home / "server.sock"), deadline_s=5)
    assert client.ping()
    assert client.get_connection_kwargs()["db"] == (1 if "=1" in scheme else 0)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("redis://:secret@127.0.0.1:1/0", "redis://***@127.0.0.1:1/0"),
        ("rediss://me:secret@127.0.0.1:1", "rediss://me:***@127.0.0.1:1"),
        ("redis://me:secret@no-such-host.invalid", "redis://me:***@no-such-host.invalid"),
        ("sentinel://me:secret@127.0.0.1:1,127.0.0.1:2/main", "sentinel://me:***@127.0.0.1:1,127.0.0.1:2/main"),
        ("unix:///no/such.sock", "unix:///no/such.sock"),
    ],
)
def test_a_server_that_is_not_there_is_one_clear_error(given: str, shown: str) -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        connect(given, deadline_s=1)
    assert time.monotonic() - began < 2
    assert shown in str(caught.value)
    assert caught.value.url == shown
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis://127.0.0.1:{}", "sentinel://127.0.0.1:{}/main"])
def test_a_server_that_never_answers_fails_within_the_deadline(silent_port: int, scheme: str) -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        connect(scheme.format(silent_port), deadline_s=0.5)
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("wrong", ["redis://host:port", "sentinel://host:26379", "redis://host/db?db=x"])
def test_a_url_that_makes_no_sense_is_a_setting_to_mend(wrong: str) -> None:
    with pytest.raises(SettingsInvalid):
        connect(wrong, deadline_s=1)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("rediss://:pw@localhost:1/0?ssl_ca_cert=/x.pem", "there is no option ssl_ca_cert"),
        ("rediss://:pw@localhost:1/0?ssl_cert_reqs=bogus", "Invalid SSL Certificate Requirements Flag: bogus"),
        ("redis://:pw@localhost:1/abc", "behind the / stands the number of a database"),
        ("redis://:pw@localhost:70000/0", "Port out of range 0-65535"),
        ("redis://:pw@[localhost:1/0", "Invalid IPv6 URL"),
    ],
)
def test_what_is_wrong_with_a_url_is_told_before_anybody_connects(wrong: str, told: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        connect(wrong, deadline_s=1)
    assert caught.value.message == f"{wrong.replace(':pw@', '***@')} is no URL of a server: {told}"


def test_a_database_that_the_server_has_not_is_one_clear_line(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="has no such database"):
        connect(f"{url}?db=9999", deadline_s=5)


@pytest.mark.parametrize(
    "wrong",
    ["redis://:pa/55@host:1/0", "sentinel://me:pa#55@host:1/main", "redis://:pa?55@host", "redis://:x?pa=5@h/0"],
)
def test_a_password_that_cannot_stand_in_a_url_is_not_told(wrong: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        connect(wrong, deadline_s=1)
    assert "%2F" in caught.value.message
    assert "pa" not in caught.value.message.replace("password", "")
    assert caught.value.__cause__ is None


def test_the_guard_translates_errors_of_the_network_and_no_others() -> None:
    @guard("redis://:secret@host")
    def fails(error: Exception) -> None:
        raise error

    with pytest.raises(StoreUnavailable, match=r"redis://\*\*\*@host does not answer: gone \*\*\*"):
        fails(redis.ConnectionError("gone secret"))
    with pytest.raises(StoreUnavailable):
        fails(redis.TimeoutError())
    with pytest.raises(redis.ResponseError):
        fails(redis.ResponseError("wrong type"))


def test_a_server_that_cannot_write_to_its_disk_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match="cannot write to its disk"), guard("redis://:secret@host"):
        raise redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device")
    with pytest.raises(redis.ResponseError), guard("redis://host"):
        raise redis.ResponseError("ERR unknown command")
