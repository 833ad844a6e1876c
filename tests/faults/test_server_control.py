"""The tools of the fault tests do what they say: a power cut takes away exactly what was not synced."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import redis

from tests.faults.servers import Kind, Server, binary
from tests.waiting import wait_until

KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(binary(kind) is None, reason=f"no {kind}"))
    for kind in ("valkey", "redis-server")
]
WRITES = 400


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_power_cut_tells_always_from_every_second(tmp_path: Path, kind: Kind, fsync: str) -> None:
    with Server(tmp_path, kind=kind, shim=True, appendfsync=fsync) as server:
        with server.client() as client:
            for number in range(WRITES):
                client.set(f"k{number}", "x" * 100)
        lost_bytes = server.cut_power(torn_bytes=random.randrange(41))
        server.start()
        kept = server.call("DBSIZE")
    if fsync == "always":
        assert (lost_bytes, kept) == (0, WRITES)
    else:
        assert lost_bytes > 0
        assert kept < WRITES, "400 writes take less than a second, or were synced by the way"


@pytest.mark.parametrize("torn_bytes", [1, 17, 40])
def test_a_torn_end_costs_nothing_that_was_accepted(tmp_path: Path, torn_bytes: int) -> None:
    with Server(tmp_path, shim=True) as server:
        server.call("SET", "a", "1")
        server.cut_power(torn_bytes=torn_bytes)
        size = server.aof_files[-1].stat().st_size
        server.start()
        assert server.call("GET", "a") == "1"
        assert server.aof_files[-1].stat().st_size == size - torn_bytes


def test_rewritten_files_survive_a_power_cut(tmp_path: Path) -> None:
    with Server(tmp_path, shim=True) as server:
        server.call("SET", "a", "1")
        server.call("BGREWRITEAOF")
        wait_until(lambda: "aof_rewrite_in_progress:0" in info(server), what="the rewrite", timeout_s=15)
        server.call("SET", "b", "2")
        server.cut_power()
        server.start()
        assert (server.call("GET", "a"), server.call("GET", "b")) == ("1", "2")


def info(server: Server) -> str:
    with server.client() as client:
        return "\n".join(f"{name}:{value}" for name, value in client.info("persistence").items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_is_killed_stopped_frozen_and_set_up(tmp_path: Path, kind: Kind) -> None:
    with Server(tmp_path, kind=kind, tcp=True, requirepass="secret") as server:
        server.call("SET", "a", "1")
        for end in (server.kill, server.stop):
            end()
            assert not server.running
            server.start()
            assert server.call("GET", "a") == "1"
        server.config(maxmemory="100mb")
        server.pause()
        with server.client(0.2) as client, pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert server.call("CONFIG", "GET", "maxmemory") == {"maxmemory": "104857600"}
        assert server.process
        pid = server.process.pid
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
