"""The proxy does what its toxics say. Part of every test run: the fault tests lean on it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from orchestrator import Client, Settings, StoreUnavailable
from orchestrator.store.connection import leave
from orchestrator.store.directory import Directory
from orchestrator.store.embedded import EmbeddedServer
from tests.faults.proxy import (
    Bandwidth,
    DropReply,
    Echo,
    Latency,
    LimitData,
    Proxy,
    ResetAfter,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    command,
    script,
)
from tests.waiting import wait_until

QUEUE = "agent.alpha"


@pytest.fixture
def proxy(client: redis.Redis, server: EmbeddedServer) -> Iterator[Proxy]:
    with Proxy(server.url, seed=1) as made:
        yield made


@pytest.fixture
def through(proxy: Proxy) -> Iterator[redis.Redis]:
    """A client behind the proxy that sends nothing twice."""
    with redis.Redis.from_url(proxy.url, decode_responses=True, socket_timeout=2, retry=None) as made:
        made.ping()
        yield made


def test_it_passes_everything_on(through: redis.Redis) -> None:
    long = "x" * 500_000
    assert through.set("long", long)
    assert through.get("long") == long


def test_latency(proxy: Proxy, through: redis.Redis) -> None:
    with proxy.toxic(Latency(ms=100)):
        began_s = time.monotonic()
        through.ping()
    assert time.monotonic() - began_s >= 0.1


def test_bandwidth(proxy: Proxy, through: redis.Redis) -> None:
    through.set("some", "x" * 2000)
    with proxy.toxic(Bandwidth(bytes_s=20_000)):
        began_s = time.monotonic()
        through.get("some")
    assert time.monotonic() - began_s >= 0.1


def test_slices_are_put_together_again(proxy: Proxy, through: redis.Redis) -> None:
    with proxy.toxic(Slicer(size=1), Slicer("up", size=1)):
        through.set("words", "a few words")
        assert through.get("words") == "a few words"


def test_timeout_holds_everything_until_it_heals(proxy: Proxy, through: redis.Redis) -> None:
    with ThreadPoolExecutor() as pool:
        with proxy.toxic(Timeout()):
            answer = pool.submit(through.ping)
            with pytest.raises(TimeoutError):
                answer.result(0.1)
        assert answer.result(2)


def test_timeout_with_a_time_closes(proxy: Proxy, through: redis.Redis) -> None:
    with proxy.toxic(Timeout(ms=50)), pytest.raises(redis.ConnectionError):
        through.ping()


def test_reset_peer(proxy: Proxy, through: redis.Redis) -> None:
    with proxy.toxic(ResetPeer()), pytest.raises(redis.ConnectionError):
        through.ping()
    assert through.ping()


def test_slow_close(proxy: Proxy) -> None:
    with proxy.toxic(SlowClose(ms=100)), socket.create_connection(("127.0.0.1", proxy.port), 2) as raw:
        began_s = time.monotonic()
        raw.sendall(b"QUIT\r\n")
        while raw.recv(100):
            pass
    assert time.monotonic() - began_s >= 0.1


def test_limit_data_ends_in_the_middle_of_a_reply(proxy: Proxy, through: redis.Redis) -> None:
    through.set("long", "x" * 1000)
    with proxy.toxic(LimitData(size_bytes=500)), pytest.raises(redis.ConnectionError):
        through.get("long")
    assert through.get("long") == "x" * 1000


def test_down_and_up(proxy: Proxy, through: redis.Redis) -> None:
    proxy.down()
    with pytest.raises(redis.ConnectionError):
        through.ping()
    proxy.up()
    assert through.ping()


def test_a_dropped_reply_is_of_a_command_that_was_done(proxy: Proxy, through: redis.Redis, client: redis.Redis) -> None:
    with proxy.toxic(drop := DropReply(match=command("INCRBY"))):
        with pytest.raises(redis.ConnectionError):
            through.incr("n")
        assert through.get("n") == "1"
    assert client.get("n") == "1"
    assert drop.dropped == 1


def test_the_reply_of_a_script_is_dropped(proxy: Proxy) -> None:
    with Client(Settings(url=proxy.url)) as sender:
        Directory(sender.store.client, sender.store.keys, lease_ms=10_000).register("alpha")
        with proxy.toxic(drop := DropReply(match=script("send_messages"))), pytest.raises(StoreUnavailable):
            sender.send("alpha", "hello", idempotency_key="one")
        assert drop.dropped
        sender.send("alpha", "hello", idempotency_key="one")
        assert sender.office.inbox.size("alpha") == 1
        leave(proxy.url)


def test_the_share_of_dropped_replies_comes_from_the_seed(
    proxy: Proxy, through: redis.Redis, client: redis.Redis
) -> None:
    lost = 0
    with proxy.toxic(DropReply(match=command("INCRBY"), p=0.3)):
        for _ in range(100):
            try:
                through.incr("n")
            except redis.ConnectionError:
                lost += 1
    assert client.get("n") == "100"
    assert 10 < lost < 60


def test_the_first_reply_can_be_dropped_for_sure(proxy: Proxy, through: redis.Redis) -> None:
    with proxy.toxic(DropReply(match=command("INCRBY"), p=0, first=True)):
        with pytest.raises(redis.ConnectionError):
            through.incr("n")
        assert through.incr("n") == 2


def test_reset_after_the_nth_command(proxy: Proxy, through: redis.Redis, client: redis.Redis) -> None:
    with proxy.toxic(ResetAfter(match=command("BLPOP", QUEUE), n=2)):
        client.rpush(QUEUE, "first")
        assert through.blpop([QUEUE], timeout=1) == (QUEUE, "first")
        with pytest.raises(redis.ConnectionError):
            through.blpop([QUEUE], timeout=1)
    assert client.llen(QUEUE) == 0


def test_an_echo_pushes_again_what_a_script_has_pushed(client: redis.Redis, server: EmbeddedServer) -> None:
    with Echo(server.url, seed=1, times=(3, 3), delay_s=0.05) as echo:
        client.eval("redis.call('LPUSH', KEYS[1], ARGV[1])", 1, QUEUE, 'a "bell"\n')
        client.lpush("other", "1")
        wait_until(lambda: echo.pushed == 2, what="two copies", timeout_s=5)
    assert client.lrange(QUEUE, 0, -1) == ['a "bell"\n'] * 3
    assert client.llen("other") == 1
