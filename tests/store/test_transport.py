"""The transport on a real server: nothing is lost, nothing loops, and kombu's layout stays."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu
import pytest
import redis

from benchmarks.transport_kills import ROOT, SEPARATOR, start_worker
from orchestrator.runtime.broker_url import broker_settings
from orchestrator.runtime.celery_defaults import RABBITMQ, TRANSPORT_OPTIONS
from orchestrator.runtime.transport import Channel, SentinelTransport
from orchestrator.store import embedded
from orchestrator.store.quarantine import Quarantine
from tests.faults.servers import free_port
from tests.waiting import wait_until

WAKE = f"{SEPARATOR}wake"


@pytest.fixture
def raw(server: embedded.EmbeddedServer) -> Iterator[redis.Redis]:
    """A plain client on an empty server."""
    with redis.Redis(unix_socket_path=str(server.socket_path), decode_responses=True) as client:
        client.flushall()
        yield client


class Lab:
    """One connection that publishes and consumes; `got` collects the bodies that came."""

    def __init__(self, url: str) -> None:
        self.connection = kombu.Connection(url, transport_options=TRANSPORT_OPTIONS)
        self.channel = self.connection.channel()
        self.got: list[Any] = []
        self.messages: list[Any] = []

    def put(self, body: Any, queue: str = "q", priority: int = 6) -> None:
        producer = kombu.Producer(self.connection.default_channel)
        producer.publish(body, exchange="", routing_key=queue, priority=priority, serializer="json")

    def consume(self, *queues: str, no_ack: bool = False, prefetch: int = 0) -> None:
        def received(body: Any, message: Any) -> None:
            self.got.append(body)
            self.messages.append(message)

        wanted = [kombu.Queue(name, exchange=kombu.Exchange(""), routing_key=name) for name in queues]
        self.channel.basic_qos(0, prefetch, False)
        consumer = kombu.Consumer(self.channel, wanted, callbacks=[received], no_ack=no_ack, auto_declare=False)
        consumer.consume()

    def drain(self, seconds: float = 0.2) -> list[Any]:
        """Everything that comes until nothing has come for so long."""
        try:
            while True:
                self.connection.drain_events(timeout=seconds)
        except TimeoutError:
            return self.got


@pytest.fixture
def lab(server: embedded.EmbeddedServer, raw: redis.Redis) -> Iterator[Lab]:
    lab = Lab(server.url)
    yield lab
    lab.connection.close()


# --- one channel ---


def test_a_socket_url_gets_our_transport(lab: Lab) -> None:
    assert isinstance(lab.channel, Channel)


def test_a_delivered_message_is_in_unacked_until_it_is_acknowledged(lab: Lab, raw: redis.Redis) -> None:
    lab.consume("q")
    lab.put({"n": 1})
    assert lab.drain() == [{"n": 1}]
    (tag, noted), *none = raw.hgetall("unacked").items()
    assert not none
    assert raw.zrange("unacked_index", 0, -1) == [tag]
    message, exchange, routing_key = json.loads(noted)
    assert (exchange, routing_key) == ("", "q")
    assert message["properties"]["priority"] == 6
    assert raw.llen(f"q{SEPARATOR}6") == 0
    lab.messages[0].ack()  # nobody waits for the answer
    wait_until(lambda: not raw.exists("unacked", "unacked_index"), what="the acknowledgement", timeout_s=5)


def test_a_rejected_message_goes_back_or_away(lab: Lab, raw: redis.Redis) -> None:
    lab.consume("q", prefetch=1)
    lab.put("a")
    lab.drain()
    lab.messages[0].requeue()
    assert lab.drain() == ["a", "a"]
    assert lab.messages[1].delivery_info["redelivered"]
    assert lab.messages[1].delivery_tag != lab.messages[0].delivery_tag
    lab.messages[1].reject()
    assert not raw.exists("unacked", "unacked_index", f"q{SEPARATOR}6")


def test_a_late_ack_does_not_remove_what_the_next_consumer_holds(lab: Lab, raw: redis.Redis) -> None:
    lab.consume("q")
    lab.put("a")
    lab.drain()
    first = lab.messages[0]
    lab.channel.qos.restore_by_tag(first.delivery_tag)
    lab.drain()
    first.ack()
    assert raw.hkeys("unacked") == [lab.messages[1].delivery_tag]


def test_messages_without_acks_are_not_noted(lab: Lab, raw: redis.Redis) -> None:
    lab.consume("q", no_ack=True)
    lab.put("a")
    assert lab.drain() == ["a"]
    assert not raw.exists("unacked", "unacked_index")


def test_the_most_urgent_comes_first_and_the_oldest_among_equals(lab: Lab) -> None:
    for name, priority in [("low", 8), ("medium", 6), ("emergency", 0), ("medium 2", 6), ("high", 4), ("urgent", 2)]:
        lab.put(name, priority=priority)
    lab.consume("q")
    assert lab.drain() == ["emergency", "urgent", "high", "medium", "medium 2", "low"]


def test_queues_take_turns_within_a_priority(lab: Lab) -> None:
    for number in range(4):
        lab.put(f"a{number}", queue="a")
        lab.put(f"b{number}", queue="b")
    lab.put("urgent", queue="b", priority=2)
    lab.consume("a", "b")
    got = lab.drain()
    assert got[0] == "urgent"
    assert [name[0] for name in got[1:]] == ["a", "b"] * 4
    assert sorted(got[1:]) == [f"{queue}{number}" for queue in "ab" for number in range(4)]


def test_credit_is_respected_and_polled_at_once_when_it_returns(lab: Lab) -> None:
    for number in range(3):
        lab.put(number)
    lab.consume("q", prefetch=1)
    assert lab.drain() == [0]
    lab.messages[0].ack()
    assert lab.drain(0.05) == [0, 1]


def test_a_waiting_consumer_hears_of_a_stock_publisher(lab: Lab, raw: redis.Redis) -> None:
    lab.put("a")
    message = raw.rpop(f"q{SEPARATOR}6")
    raw.delete(f"q{WAKE}")
    lab.consume("q")
    lab.drain(0.1)
    raw.lpush(f"q{SEPARATOR}6", message)
    lab.connection.drain_events(timeout=5)
    assert lab.got == ["a"]


def test_whoever_takes_one_of_several_messages_wakes_the_next(lab: Lab, raw: redis.Redis) -> None:
    lab.put("a")
    lab.put("b")
    assert raw.lpop(f"q{WAKE}")  # one consumer was woken for both
    message = lab.channel.basic_get("q")
    assert raw.llen(f"q{WAKE}") == 1
    assert 0 < raw.pttl(f"q{WAKE}") <= 60_000
    message.ack()
    lab.channel.basic_get("q").ack()
    assert lab.channel.basic_get("q") is None
    assert not raw.exists(f"q{WAKE}")


def test_a_server_that_has_forgotten_the_scripts_is_told_again(lab: Lab, raw: redis.Redis) -> None:
    lab.consume("q")
    for name in "ab":
        raw.script_flush()
        lab.put(name)
        raw.script_flush()
        lab.drain()
        raw.script_flush()
        lab.messages[-1].ack()
    assert lab.got == ["a", "b"]
    wait_until(lambda: not raw.exists("unacked"), what="the acknowledgement, which nobody waits for", timeout_s=5)


JUNK = {
    "no json": b"junk",
    "no text": b"\xff\xfe",
    "a number": b"12",
    "a list": b"[]",
    "an empty object": b"{}",
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "no headers": b'{"body": "", "properties": {"delivery_info": {}}}',
    "bad body": b'{"body": "!", "headers": {}, "properties": {"delivery_info": {}, "body_encoding": "rot13"}}',
    "odd type": b'{"headers": {"__type__": "uuid", "__value__": "x"}, "properties": {"delivery_info": {}}}',
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_a_message_that_cannot_be_read_is_put_aside_and_the_next_one_comes(
    lab: Lab, raw: redis.Redis, junk: bytes
) -> None:
    lab.consume("q")
    raw.lpush(f"q{SEPARATOR}6", junk)
    lab.put("fine")
    assert lab.drain() == ["fine"]
    (entry,) = Quarantine(raw).all()
    assert entry.raw == junk
    assert entry.queue == "q"
    assert entry.reason.startswith("cannot be read: ")
    assert raw.hlen("unacked") == raw.zcard("unacked_index") == 1


def test_junk_left_in_unacked_by_a_killed_worker_does_not_end_who_restores_it(lab: Lab, raw: redis.Redis) -> None:
    raw.hset("unacked", mapping={"x": '[junk, "", "q"]', "y": '[12, "", "q"]'})
    raw.zadd("unacked_index", {"x": 1, "y": 1})
    lab.put("fine")
    lab.channel.basic_get("q")
    lab.channel.qos.restore_visible(num=10, interval=1)
    assert [entry.queue for entry in Quarantine(raw).all()] == ["unacked", "unacked"]
    assert raw.hlen("unacked") == 1


def test_large_messages_pass(lab: Lab) -> None:
    lab.consume("q")
    lab.put("x" * 9_000_000)
    assert len(lab.drain(1)[0]) == 9_000_000


@pytest.mark.long
def test_a_message_of_50_mb_passes_in_bounded_time(lab: Lab) -> None:
    lab.consume("q")
    began_s = time.monotonic()
    lab.put("x" * 50_000_000)
    while not lab.got:
        lab.connection.drain_events(timeout=30)
    lab.messages[0].ack()
    assert len(lab.got[0]) == 50_000_000
    assert time.monotonic() - began_s < 30, "about a second on a quiet machine"


def test_batches_wake_consumers_too(lab: Lab) -> None:
    lab.consume("q")
    lab.drain(0.1)
    producer = kombu.Producer(lab.connection.default_channel)
    with producer.batch():
        for number in range(3):
            producer.publish(number, exchange="", routing_key="q", serializer="json")
    assert lab.drain() == [0, 1, 2]


def test_closing_puts_back_what_was_delivered_and_what_was_on_its_way(lab: Lab, raw: redis.Redis) -> None:
    for name in "ab":
        lab.put(name)
    lab.consume("q", prefetch=2)
    lab.connection.drain_events(timeout=1)
    lab.connection.transport.cycle.on_poll_start()  # a pop is out now, and its answer is not read
    lab.channel.close()
    assert not raw.exists("unacked", "unacked_index")
    assert raw.llen(f"q{SEPARATOR}6") == 2


def test_a_deleted_queue_leaves_nothing(lab: Lab, raw: redis.Redis) -> None:
    queue = kombu.Queue("gone", kombu.Exchange("gone"), "gone", channel=lab.channel)
    queue.declare()
    lab.put("a", queue="gone")
    queue.delete()
    assert not [key for key in raw.scan_iter() if key.startswith("gone")]


def test_a_key_prefix_is_refused(server: embedded.EmbeddedServer) -> None:
    options = {"global_keyprefix": "x"}
    with kombu.Connection(server.url, transport_options=options) as connection, pytest.raises(ValueError, match="keyp"):
        connection.channel()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:p@h/1", {"broker_url": "redis://:p@h/1"}),
        ("unix:///a%20b.sock?db=1", {"broker_url": "redis+socket:///a%20b.sock?virtual_host=1"}),
        (
            "sentinel://:p@a:1,b:2/main/3",
            {
                "broker_url": "sentinel://:p@a:1/3;sentinel://:p@b:2/3",
                "broker_transport": "orchestrator.runtime.transport:SentinelTransport",
                "broker_transport_options": {"master_name": "main"},
            },
        ),
    ],
)
def test_celery_is_told_about_each_kind_of_url(url: str, expected: dict[str, Any]) -> None:
    settings = broker_settings(url)
    assert settings == {"broker_transport": "orchestrator.runtime.transport:Transport", **expected}


def test_the_next_sentinel_gets_our_transport_too() -> None:
    settings = broker_settings("sentinel://a:1,b:2/main")
    connection = kombu.Connection(settings["broker_url"], transport=settings["broker_transport"])
    connection.maybe_switch_next()
    assert connection.hostname == "b"
    assert isinstance(connection.transport, SentinelTransport)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://u:p@h:1//", {"broker_url": "amqp://u:p@h:1//"}),
        (
            "amqps://h/v?ssl_ca_certs=/ca.pem",
            {
                "broker_url": "amqps://h/v",
                "broker_use_ssl": {
                    "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "h", "ca_certs": "/ca.pem"
                },
            },
        ),
    ],
)  # fmt: skip
def test_rabbitmq_keeps_kombus_own_transport(url: str, expected: dict[str, Any]) -> None:
    assert broker_settings(url) == {**RABBITMQ, **expected}


def test_tls_stays_on_under_our_transport() -> None:
    settings = broker_settings("rediss://:p@h:1")
    connection = kombu.Connection(
        settings["broker_url"], ssl=settings["broker_use_ssl"], transport=settings["broker_transport"]
    )
    channel = Channel.__new__(Channel)
    channel.connection = connection.transport
    parameters = Channel._connparams(channel)
    assert issubclass(parameters["connection_class"], redis.SSLConnection)


# --- worker processes ---

Worker = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def worker() -> Iterator[Worker]:
    """Start a Celery worker of `benchmarks.transport_app`; killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str, transport: str, *arguments: str) -> subprocess.Popen[bytes]:
        started.append(start_worker(url, transport, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def task(name: str, seconds: float = 0) -> dict[str, Any]:
    """What Celery puts on a queue for the task `mark`."""
    headers = {"id": name, "task": "mark", "lang": "py", "root_id": name, "argsrepr": "", "origin": "test"}
    return {"body": [[name, seconds], {}, {}], "headers": headers}


def send(url: str, transport: str, name: str, seconds: float = 0, **options: Any) -> None:
    message = task(name, seconds)
    with kombu.Connection(url, transport=None) as connection:
        producer = kombu.Producer(connection.default_channel)
        where = {"exchange": "", "routing_key": "load", "priority": 6, **options}
        producer.publish(message["body"], headers=message["headers"], serializer="json", **where)


def test_what_a_killed_worker_held_runs_on_the_next_one_in_its_old_priority(
    server: embedded.EmbeddedServer, lab: Lab, raw: redis.Redis, worker: Worker
) -> None:
    first = worker(server.url, "ours", "-Q", "load,other", "-c", "2")
    send(server.url, "ours", "urgent", seconds=60, priority=2)
    send(server.url, "ours", "low", seconds=60, priority=8, routing_key="other")
    wait_until(lambda: raw.llen("started") == 2, what="both run", timeout_s=30)
    first.kill()
    first.wait()
    assert raw.hlen("unacked") == 2
    lab.channel.visibility_timeout = 0
    lab.channel.qos.restore_visible(num=10, interval=1)
    assert not raw.exists("unacked", "unacked_index")
    assert (raw.llen(f"load{SEPARATOR}2"), raw.llen(f"other{SEPARATOR}8")) == (1, 1)
    worker(server.url, "ours", "-Q", "load,other", "-c", "1")
    wait_until(lambda: raw.lrange("started", 0, -1)[2:] == ["urgent"], what="the urgent one again", timeout_s=30)


def test_flower_shows_the_lengths_of_our_queues(
    server: embedded.EmbeddedServer, raw: redis.Redis, worker: Worker
) -> None:
    worker(server.url, "ours", "-Q", "load,other", "-c", "1")
    send(server.url, "ours", "long", seconds=60)
    wait_until(lambda: raw.llen("started") == 1, what="the only slot is taken", timeout_s=30)
    for number, priority in enumerate((0, 2, 6, 8)):
        send(server.url, "ours", f"waits {number}", priority=priority)
    send(server.url, "ours", "beside", routing_key="other")
    with flower(server.url) as site:
        wait_until(lambda: "load" in read(f"{site}/api/workers?refresh=1"), what="the worker", timeout_s=30)
        found = json.loads(read(f"{site}/api/queues/length"))["active_queues"]
        lengths = {queue["name"]: queue["messages"] for queue in found}
        assert (lengths["load"], lengths["other"]) == (4, 1)
        page = read(f"{site}/broker")
        assert "load" in page
        assert "other" in page


@contextmanager
def flower(url: str) -> Iterator[str]:
    """A real Flower on this broker; its address."""
    port = free_port()
    words = [sys.executable, "-m", "celery", "-A", "benchmarks.transport_app", "flower", f"--port={port}"]
    environment = {"BROKER": url, "TRANSPORT": "ours", "PYTHONPATH": str(ROOT), "FLOWER_UNAUTHENTICATED_API": "true"}
    process = subprocess.Popen(
        [*words, "--address=127.0.0.1"], cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "ignore", **environment},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def read(url: str) -> str:
    """The page; nothing while Flower does not serve it yet."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return ""


def is_blocked(client: redis.Redis, command: str) -> bool:
    return any(found["cmd"] == command and "b" in found["flags"] for found in client.client_list())


def stop_while_it_waits(client: redis.Redis, process: subprocess.Popen[bytes], command: str) -> None:
    """SIGSTOP at a moment when the server holds the worker's blocking command for a while longer."""

    def stopped() -> bool:
        process.send_signal(signal.SIGSTOP)
        if is_blocked(client, command):
            return True
        process.send_signal(signal.SIGCONT)
        return False

    wait_until(stopped, what=f"the worker waits with {command}", timeout_s=20, every_s=0.1)


@pytest.mark.parametrize(("transport", "command", "kept"), [("stock", "brpop", 0), ("ours", "blpop", 1)])
def test_a_worker_killed_while_it_waits_takes_no_message_along(
    server: embedded.EmbeddedServer, raw: redis.Redis, worker: Worker, transport: str, command: str, kept: int
) -> None:
    """The window of stock kombu, held open: the server hands the message to a process that will never run again."""
    process = worker(server.url, transport, "-Q", "load", "-c", "1")
    wait_until(lambda: is_blocked(raw, command), what="the worker is up", timeout_s=20)
    stop_while_it_waits(raw, process, command)
    send(server.url, transport, "m")
    process.kill()
    process.wait()
    assert raw.llen(f"load{SEPARATOR}6") + raw.hlen("unacked") == kept


def test_a_busy_worker_survives_a_restart_of_the_server_and_goes_on(home: Path, worker: Worker) -> None:
    with embedded.acquire(home) as server:
        process = worker(server.url, "ours", "-Q", "load", "-c", "2")
        send(server.url, "ours", "long", seconds=2)
        with redis.Redis(unix_socket_path=str(server.socket_path), decode_responses=True) as client:
            wait_until(lambda: client.lrange("started", 0, -1) == ["long"], what="it runs", timeout_s=20)
            wait_until(lambda: is_blocked(client, "blpop"), what="it has a free slot", timeout_s=20)
        before = embedded.status(home)
        assert before.pid
        os.kill(before.pid, signal.SIGKILL)
        wait_until(lambda: embedded.status(home).pid not in (None, before.pid), what="the server is back", timeout_s=20)
        with redis.Redis(unix_socket_path=str(server.socket_path), decode_responses=True) as client:
            send(server.url, "ours", "next")
            wait_until(lambda: {"long", "next"} <= set(client.lrange("done", 0, -1)), what="both ran", timeout_s=30)
            wait_until(lambda: not client.exists("unacked"), what="both were acknowledged", timeout_s=10)
        assert process.poll() is None


def test_no_message_is_lost_when_a_busy_worker_is_killed_again_and_again() -> None:
    command = [sys.executable, "-m", "benchmarks.transport_kills", "--transport", "ours", "--kills", "5"]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60).stdout)
    assert found["done"] > 50
    assert found["lost_names"] == []
