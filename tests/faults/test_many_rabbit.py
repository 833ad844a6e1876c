"""F38: RabbitMQ as the broker, while Redis stays the store: killed, frozen, impatient, and given junk."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import kombu
import pytest

from orchestrator.runtime.routing import MAX_PRIORITY, queue_of
from tests.faults.fleet import Fleet
from tests.faults.rabbit import installed, rabbit
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


def test_junk_on_a_queue_of_rabbitmq_ends_no_worker(tmp_path: Path) -> None:
    """Celery logs it and throws it away; RabbitMQ has no quarantine of ours."""
    oracle = tmp_path / "oracle"
    oracle.mkdir()
    with rabbit(tmp_path / "rabbit") as broker, Fleet(tmp_path, oracle, broker_url=broker.url) as fleet:
        [worker] = fleet.start("alpha", concurrency=1)
        main = worker.pids("main")
        with kombu.Connection(broker.url) as connection:
            producer = kombu.Producer(connection.default_channel)
            for junk in JUNK.values():
                producer.publish(exchange="", routing_key=queue_of("alpha"), priority=MAX_PRIORITY, **junk)
        fleet.client.send("alpha", {"key": "after"}).wait("acknowledged", 30)
        with kombu.Connection(broker.url) as connection:
            queue = connection.default_channel
            wait_until(
                lambda: queue.queue_declare(queue_of("alpha"), passive=True).message_count == 0,
                what="an empty queue", timeout_s=10,
            )  # fmt: skip
        assert worker.pids("main") == main
