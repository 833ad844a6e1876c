"""How the settings of a server are judged, and on which of them workers refuse to start."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from orchestrator.errors import ServerTooWeak
from orchestrator.settings import Settings
from orchestrator.store import embedded
from orchestrator.store.connection import visit
from orchestrator.store.server_settings import judge_settings, require_strong_server
from tests.faults.servers import Server, free_port

GOOD = {
    "appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no", "save": "",
    "maxmemory": "0", "maxmemory-policy": "noeviction", "bind": "127.0.0.1",
}  # fmt: skip
WEAK = [
    ({"appendonly": "no"}, "durability", "a crash loses everything"),
    ({"appendonly": "no", "save": "60 1"}, "durability", "since the last snapshot (save 60 1)"),
    ({"maxmemory-policy": "allkeys-lru"}, "eviction", "once maxmemory is set"),
    ({"maxmemory-policy": "volatile-ttl", "maxmemory": "100mb"}, "eviction", "at maxmemory (104,857,600 bytes)"),
    ({"bind": "0.0.0.0"}, "access", "listens on 0.0.0.0 without a password"),
]
COSTLY = [
    ({"appendfsync": "everysec"}, "the last two"),
    ({"appendfsync": "no"}, "half minute"),
    ({"no-appendfsync-on-rewrite": "yes"}, "while the append-only file is rewritten"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedServer]:
    with embedded.acquire(tmp_path_factory.mktemp("weak") / "home") as running:
        yield running


@pytest.fixture
def client(server: embedded.EmbeddedServer) -> Iterator[redis.Redis]:
    """The server with the best settings."""
    with visit(server.url, deadline_s=5) as connection:
        change(connection, {})
        yield connection
        connection.config_set("port", 0)


def failing(client: redis.Redis, settings: Settings) -> list[tuple[str, str]]:
    return [(found.check, found.detail) for found in judge_settings(client, settings) if found.status != "ok"]


def change(client: redis.Redis, settings: dict[str, str]) -> None:
    """The best settings but for these. In the end it listens on a port, so that `bind` counts."""
    client.config_set("port", 0)
    for name, value in {**GOOD, **settings}.items():
        client.config_set(name, value)
    client.config_set("port", free_port())


def test_nothing_is_wrong_with_the_best_settings(client: redis.Redis, server: embedded.EmbeddedServer) -> None:
    settings = Settings(url=server.url)
    assert failing(client, settings) == []
    require_strong_server(settings)


def test_a_node_of_a_cluster_is_refused(tmp_path: Path) -> None:
    with Server(tmp_path / "node", tcp=True, cluster_enabled="yes", cluster_port=str(free_port())) as node:
        with visit(node.url, deadline_s=5) as connection:
            assert [check for check, _ in failing(connection, Settings(url=node.url))] == ["cluster"]
        with pytest.raises(ServerTooWeak, match="cluster: a node of a Redis Cluster"):
            require_strong_server(Settings(url=node.url))


@pytest.mark.parametrize(("changes", "check", "says"), WEAK, ids=str)
def test_a_server_that_can_lose_work_is_refused_in_one_line(
    client: redis.Redis, server: embedded.EmbeddedServer, changes: dict[str, str], check: str, says: str
) -> None:
    change(client, changes)
    [(found, detail)] = failing(client, Settings(url=server.url))
    assert (found, says in detail) == (check, True)
    with pytest.raises(ServerTooWeak) as refused:
        require_strong_server(Settings(url=server.url))
    [line, how] = refused.value.message.splitlines()
    assert line.startswith(f"{check}: ")
    assert "CONFIG SET" in line
    assert "ORCHESTRATOR_ALLOW_WEAK_SERVER=1" in how
    require_strong_server(Settings(url=server.url, allow_weak_server=True))


@pytest.mark.parametrize(("changes", "says"), COSTLY, ids=str)
def test_what_only_a_power_cut_may_cost_is_a_warning_at_the_start(
    client: redis.Redis, server: embedded.EmbeddedServer, caplog: pytest.LogCaptureFixture,
    changes: dict[str, str], says: str,
) -> None:  # fmt: skip
    change(client, changes)
    settings = Settings(url=server.url)
    [(check, detail)] = failing(client, settings)
    assert (check, says in detail) == ("power cut", True)
    with caplog.at_level(logging.WARNING):
        require_strong_server(settings)
    assert says in caplog.text


def test_every_second_is_enough_where_the_user_says_so(client: redis.Redis, server: embedded.EmbeddedServer) -> None:
    change(client, {"appendfsync": "everysec"})
    assert failing(client, Settings(url=server.url, durability="everysec")) == []
    assert failing(client, Settings()) == [], "the default of the embedded server"
    [(check, _)] = failing(client, Settings(durability="always"))
    assert check == "power cut"


def test_all_weaknesses_are_named_together(client: redis.Redis, server: embedded.EmbeddedServer) -> None:
    change(client, {"appendonly": "no", "maxmemory-policy": "allkeys-lru", "bind": "0.0.0.0"})
    with pytest.raises(ServerTooWeak) as refused:
        require_strong_server(Settings(url=server.url))
    named = [line.partition(":")[0] for line in refused.value.message.splitlines()[:-1]]
    assert named == ["durability", "eviction", "access"]


def test_a_server_that_does_not_tell_its_settings_gets_a_warning(
    client: redis.Redis, server: embedded.EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    client.execute_command("ACL", "SETUSER", "guest", "on", ">secret", "+@all", "-config", "~*")
    url = server.url.replace("redis+socket://", "redis+socket://guest:secret@")
    with caplog.at_level(logging.WARNING):
        require_strong_server(Settings(url=url))
    assert "does not tell its settings" in caplog.text


def test_a_server_that_is_away_gets_a_warning_without_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        require_strong_server(Settings(url=f"redis+socket://:open-sesame@{tmp_path}/none"), may_be_away=True)
    assert "were not checked" in caplog.text
    assert "open-sesame" not in caplog.text
