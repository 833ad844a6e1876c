"""F35: who only watches may be slow or dead: Flower frozen, a subscriber that never reads, one that is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.faults.checker import percentile
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book
from tests.faults.servers import Server, free_port
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

MESSAGES = 1000
RATE = 50.0
AGENTS = ("alpha", "beta")
EVENTS = "*celeryev*"
LISTENER = """
import sys, redis
events = redis.Redis(unix_socket_path=sys.argv[1]).pubsub()
events.psubscribe(sys.argv[2])
print("there")
for event in events.listen():
    pass
"""


@contextmanager
def frozen_flower(fleet: Fleet) -> Iterator[None]:
    """Flower, connected, then stopped by SIGSTOP."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "flower", "--port", str(port)], cwd=fleet.folder, env=fleet.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: _answers(port), what="Flower", timeout_s=60, every_s=0.1)
        fleet.note("fault", "flower")
        process.send_signal(signal.SIGSTOP)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def deaf_subscriber(server: Server) -> Iterator[None]:
    """Subscribes to the events and never reads one."""
    with server.client() as client:
        events = client.pubsub()  # type: ignore[no-untyped-call]
        events.psubscribe(EVENTS)
        yield
        events.close()


@contextmanager
def dead_subscriber(fleet: Fleet) -> Iterator[None]:
    """`celery events`, killed while it is subscribed."""
    path = str(fleet.client.url.partition("://")[2].rpartition("@")[2])
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", LISTENER, path, EVENTS],
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    process.stdout.readline()
    fleet.note("fault", "subscriber")
    process.kill()
    process.wait(10)
    process.stdout.close()
    yield


@pytest.mark.fault("F35", "Flower frozen, event consumers slow and dead")
@pytest.mark.timeout(300)
def test_who_watches_does_not_slow_down_who_works(trial: Trial) -> None:
    total = trial.scale(MESSAGES)
    with Server(trial.folder / "server") as server:
        fleet = trial.fleet(url=server.url, durability="always")
        fleet.start(*AGENTS)
        for name in ("warm", "alone"):
            with trial.messages(fleet, total, to=AGENTS, name=name, rate=RATE):
                pass
        with ExitStack() as stack:
            stack.enter_context(frozen_flower(fleet))
            stack.enter_context(deaf_subscriber(server))
            stack.enter_context(dead_subscriber(fleet))
            with trial.messages(fleet, total, to=AGENTS, name="watched", rate=RATE):
                pass
            verdict = trial.judge(fleet)
        book = Book.read(trial.oracle)
        alone, watched = _p95_s(book, "alone"), _p95_s(book, "watched")
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("extra attempts", verdict.counts["extra_attempts"], 0),
                Target("p95 beside the one without watchers", round(watched / alone, 2), 3, "x", timing=True),
            ],
            load=f"{total} messages at {RATE:g} a second without watchers, as many with",
        )


def _p95_s(book: Book, name: str) -> float:
    fates = [fate for fate in book.fates.values() if fate.key.startswith(f"{name}-")]
    return percentile([book.tries_of[fate.key, ""][0].start_s - fate.tried_s for fate in fates], 0.95)
