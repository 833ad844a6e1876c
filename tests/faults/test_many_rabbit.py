"""F38: RabbitMQ as the broker, while Redis stays the store: killed, frozen, impatient, and given junk."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import kombu
import pytest

from orchestrator.store.routing import MAX_PRIORITY, queue_of
from tests.acceptance.team import team
from tests.certificates import make_authority, make_certificate
from tests.faults.rabbit import installed, rabbit
from tests.faults.servers import free_port
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(not installed(), reason="needs Debian's rabbitmq-server"),
    pytest.mark.timeout(400),
]

RATE = 20.0
DOWN_S = 2.0
#: What a command may take longer than `deadline_s`: the store's part of it.
SLACK_S = 2.0


def pause(seconds: float) -> None:
    """The length of a fault."""
    time.sleep(seconds)


@pytest.mark.fault("F38a", "the broker, a RabbitMQ, is killed again and again; the store is not", star=True)
def test_nothing_is_lost_when_the_broker_is_killed(trial: Trial) -> None:
    total, kills = trial.scale(2000), 3
    with rabbit(trial.folder / "rabbit") as broker:
        fleet = trial.fleet(broker_url=broker.url)
        fleet.start("alpha", "beta", concurrency=2)
        sending = trial.messages(fleet, total, to=("alpha", "beta"), body={"ms": 20}, rate=RATE)
        with sending:
            for _ in range(kills):
                pause(total / RATE / (kills + 1))
                fleet.note("fault", "broker")
                broker.kill()
                pause(DOWN_S)
                broker.start()
                fleet.note("healed", "broker")
        verdict = trial.judge(fleet, timeout_s=120)
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("refused", verdict.counts["refused"], 0),
                Target("recovery max", verdict.recovery["recovery_s"]["max"], 15, "s", timing=True),
            ],
            load=f"{total} messages at {RATE:g}/s, 2 workers x 2, {kills} kills of RabbitMQ, {DOWN_S:g} s down",
        )


@pytest.mark.fault("F38b", "the broker, a RabbitMQ, is frozen: it takes connections and never answers")
def test_a_send_is_accepted_in_time_while_the_broker_is_frozen(trial: Trial) -> None:
    total = trial.scale(40)
    with rabbit(trial.folder / "rabbit") as broker:
        fleet = trial.fleet(broker_url=broker.url)
        fleet.start("alpha", concurrency=2)
        broker.signal(signal.SIGSTOP)
        fleet.note("fault", "broker")
        began_s = time.monotonic()
        with trial.messages(fleet, total, to=("alpha",), rate=None, threads=total):
            pass
        took_s = time.monotonic() - began_s
        doctor = fleet.call("doctor")
        broker.signal(signal.SIGCONT)
        fleet.note("healed", "broker")
        verdict = trial.judge(fleet, timeout_s=60)
        assert doctor.returncode == 4
        assert "The broker amqp://guest:***@" in doctor.stdout
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("refused", verdict.counts["refused"], 0),
                Target("the longest send", took_s, fleet.settings.deadline_s + SLACK_S, "s", timing=True),
                Target("recovery max", verdict.recovery["recovery_s"]["max"], 15, "s", timing=True),
            ],
            load=f"{total} messages sent while RabbitMQ is frozen",
        )


@pytest.mark.fault("F38c", "a handler is longer than RabbitMQ's consumer_timeout, which closes the channel")
def test_a_handler_that_is_longer_than_the_consumer_timeout_runs_once(trial: Trial) -> None:
    total = trial.scale(40)
    impatient = {"config": "consumer_timeout = 2000", "advanced": "{channel_tick_interval, 1000}"}
    with rabbit(trial.folder / "rabbit", **impatient) as broker:
        fleet = trial.fleet(broker_url=broker.url)
        fleet.start("alpha", each=2, concurrency=2)
        with trial.messages(fleet, total, to=("alpha",), body={"ms": 6000}, rate=None):
            pass
        verdict = trial.judge(fleet, timeout_s=180)
        closed = (trial.folder / "rabbit" / "server.log").read_text().count("Timeout value used")
        assert closed, "the fault did not happen"
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("extra attempts", verdict.counts["extra_attempts"], 0),
            ],
            load=f"{total} messages of 6 s, consumer_timeout 2 s",
            counts={"closed_channels": closed},
        )


JUNK: dict[str, dict[str, Any]] = {
    "text": {"body": "junk", "content_type": "text/plain"},
    "broken JSON": {"body": "{", "content_type": "application/json", "content_encoding": "utf-8"},
    "a list": {"body": "[1, 2]", "content_type": "application/json", "content_encoding": "utf-8"},
    "deep JSON": {"body": "[" * 100_000, "content_type": "application/json", "content_encoding": "utf-8"},
    "pickle": {"body": b"\x80\x04.", "content_type": "application/x-python-serialize", "content_encoding": "binary"},
    "unknown task": {
        "body": "[[], {}, {}]", "content_type": "application/json", "content_encoding": "utf-8",
        "headers": {"task": "nobody.knows", "id": "x"},
    },
}  # fmt: skip


@pytest.mark.fault("F38d", "junk on a queue of RabbitMQ")
def test_junk_on_a_queue_of_rabbitmq_ends_no_worker(trial: Trial) -> None:
    total, times = trial.scale(500), trial.scale(100)
    with rabbit(trial.folder / "rabbit") as broker:
        fleet = trial.fleet(broker_url=broker.url)
        [worker] = fleet.start("alpha", concurrency=1)
        main = worker.pids("main")
        with trial.messages(fleet, total, to=("alpha",), rate=50.0), kombu.Connection(broker.url) as connection:
            producer = kombu.Producer(connection.default_channel)
            for junk in list(JUNK.values()) * times:
                producer.publish(exchange="", routing_key=queue_of("alpha"), priority=MAX_PRIORITY, **junk)
        verdict = trial.judge(fleet)
        with kombu.Connection(broker.url) as connection:
            channel = connection.default_channel
            wait_until(
                lambda: channel.queue_declare(queue_of("alpha"), passive=True).message_count == 0,
                what="an empty queue", timeout_s=30,
            )  # fmt: skip
        assert worker.pids("main") == main
        (quarantine,) = fleet.client.quarantines()
        missing = len(JUNK) * times - quarantine.count()
        trial.report(
            verdict,
            [Target("lost", verdict.counts["lost"], 0), Target("junk that is not in quarantine", missing, 0)],
            load=f"{total} messages, {times} times each of: {', '.join(JUNK)}",
        )


@pytest.mark.fault("F38e", "RabbitMQ behind TLS, with a certificate of a private authority")
def test_a_run_goes_through_rabbitmq_behind_tls(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "ca")
    make_certificate(tmp_path, authority)
    port = free_port()
    config = [f"listeners.ssl.1 = 127.0.0.1:{port}", "ssl_options.verify = verify_none"]
    files = {"cacertfile": authority, "certfile": tmp_path / "server.pem", "keyfile": tmp_path / "server.key"}
    config += [f"ssl_options.{name} = {file}" for name, file in files.items()]
    with rabbit(tmp_path / "rabbit", config="\n".join(config)):
        url = f"amqps://guest:guest@localhost:{port}//?ssl_ca_certs={authority}"
        with team(tmp_path, broker_url=url) as crew:
            crew.start_worker("hand", "echoer", concurrency=1)
            assert crew.run("steps: [{id: a, agent: hand, task: echo, with: {value: 1}}]").result() == {}
            assert crew.client.ask("echoer", "hello", timeout_s=10) == "heard hello"
