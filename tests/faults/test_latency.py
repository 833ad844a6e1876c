"""L1 to L4: how long a message takes, how many go through, on a server that syncs every write. Nothing is broken here.

Times are of one machine's monotonic clock: from the call of `send` to the first line of the handler.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults import idle_agents
from tests.faults.agents import CHAIN_STEPS, NAMES, chain_outputs
from tests.faults.checker import percentile
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book, Pen
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

IDLE, IDLE_RATE = 1000, 20.0
BUSY, BUSY_RATE, BUSY_BYTES = 6000, 100.0, 1000
CHAINS, CHAIN_RATE, QUESTIONS = 500, 10.0, 500
WARM_UP = 20
NO_OPS = 10_000
PATIENCE_S = 30.0


class Stamp:
    """The body of each message, made at the moment at which it is sent."""

    def __init__(self, size_bytes: int = 0) -> None:
        self.sent_s: dict[int, float] = {}
        self._fill = "x" * size_bytes

    def __call__(self, number: int) -> dict[str, str]:
        self.sent_s.setdefault(number, time.monotonic())
        return {"fill": self._fill}

    def latencies_ms(self, book: Book, name: str = "m") -> list[float]:
        starts = {number: book.tries_of[f"{name}-{number}", ""][0].start_s for number in self.sent_s}
        return [1000 * (start_s - self.sent_s[number]) for number, start_s in starts.items()]


def _times(name: str, times_ms: Sequence[float], p99_ms: float, p50_ms: float | None = None) -> list[Target]:
    p50, p99 = (round(percentile(times_ms, share), 1) for share in (0.5, 0.99))
    first = [Target(f"{name}p50", p50, p50_ms or p99_ms, "ms", timing=True)]
    return [*first, Target(f"{name}p99", p99, p99_ms, "ms", timing=True)]


def _warm(trial: Trial, fleet: Fleet, to: Sequence[str]) -> None:
    """Scripts are loaded, connections are there."""
    with trial.messages(fleet, WARM_UP * len(to), to=tuple(to), name="warm", rate=IDLE_RATE):
        pass
    wait_until(lambda: trial.count("end") >= WARM_UP * len(to), what="the first messages", timeout_s=60, every_s=0.1)


@pytest.mark.fault("L1", "from `send` to the start of the handler, idle", star=True)
@pytest.mark.timeout(300)
def test_latency_of_an_idle_system(trial: Trial) -> None:
    total, stamp = trial.scale(IDLE), Stamp()
    with Server(trial.folder / "server") as server:
        fleet = trial.fleet(url=server.url, durability="always")
        fleet.start("alpha", concurrency=2)
        _warm(trial, fleet, ["alpha"])
        with trial.messages(fleet, total, body=stamp, rate=IDLE_RATE):
            pass
        verdict = trial.judge(fleet)
        times_ms = stamp.latencies_ms(Book.read(trial.oracle))
        trial.report(verdict, _times("", times_ms, 100, 10), load=f"{total} messages, {IDLE_RATE:g} a second, `always`")


@pytest.mark.fault("L2", "from `send` to the start of the handler, 100 messages of 1 kB a second", star=True)
@pytest.mark.timeout(300)
def test_latency_of_a_busy_system(trial: Trial) -> None:
    total, stamp = trial.scale(BUSY), Stamp(BUSY_BYTES)
    with Server(trial.folder / "server") as server:
        fleet = trial.fleet(url=server.url, durability="always")
        fleet.start(*NAMES, concurrency=2)
        _warm(trial, fleet, NAMES)
        with trial.messages(fleet, total, to=NAMES, body=stamp, rate=BUSY_RATE):
            pass
        verdict = trial.judge(fleet)
        times_ms = stamp.latencies_ms(Book.read(trial.oracle))
        load = f"{total} messages of 1 kB, {BUSY_RATE:g} a second, 4 agents, `always`"
        trial.report(verdict, _times("", times_ms, 100), load=load)


@pytest.mark.fault("L3", "from step to step of a chain; from a question to its answer", star=True)
@pytest.mark.timeout(300)
def test_latency_of_steps_and_answers(trial: Trial) -> None:
    chains, questions = trial.scale(CHAINS), trial.scale(QUESTIONS)
    with Server(trial.folder / "server") as server:
        fleet = trial.fleet(url=server.url, durability="always")
        fleet.start(*NAMES[:3], concurrency=2)
        _warm(trial, fleet, NAMES[:3])
        with trial.runs(fleet, chains, rate=CHAIN_RATE):
            pass
        answers_ms = _ask(trial, fleet, questions)
        verdict = trial.judge(fleet, outputs=chain_outputs)
        steps_ms = list(_between_steps_ms(Book.read(trial.oracle)))
        trial.report(
            verdict,
            [*_times("step to step ", steps_ms, 150), *_times("answer ", answers_ms, 200)],
            load=f"{chains} runs of 3 steps, {CHAIN_RATE:g} a second; {questions} questions, one by one; `always`",
        )


def _between_steps_ms(book: Book) -> Iterable[float]:
    """From the end of each step's handler to the start of the next one's."""
    for key in [fate.key for fate in book.fates.values() if fate.kind == "run"]:
        for before, after in pairwise(CHAIN_STEPS):
            ended_s = book.tries_of[key, before][-1].end_s
            assert ended_s is not None
            yield 1000 * (book.tries_of[key, after][0].start_s - ended_s)


def _ask(trial: Trial, fleet: Fleet, total: int) -> list[float]:
    """Milliseconds from each question to its answer."""
    pen, times_ms = Pen(trial.oracle, "asker"), []
    for number in range(total):
        key = f"q-{number}"
        pen.write("try", key, kind="message")
        began_s = time.monotonic()
        question = {"key": key, "answer": True}
        receipt = fleet.client.send("alpha", question, message_type="question", awaited_s=PATIENCE_S)
        assert receipt.reply(PATIENCE_S).body == {"content": key}
        times_ms.append(1000 * (time.monotonic() - began_s))
        pen.write("accepted", key, id=receipt.message_id)
    pen.close()
    return times_ms


@pytest.mark.fault("L4", "durable throughput")
@pytest.mark.timeout(500)
def test_throughput_of_messages_that_do_nothing(trial: Trial) -> None:
    total = trial.scale(NO_OPS)
    with Server(trial.folder / "server") as server:
        fleet = trial.fleet(url=server.url, durability="always", agents=Path(idle_agents.__file__))
        names = idle_agents.NAMES
        fleet.start(*names)
        fleet.stop()
        began_s = time.monotonic()
        ids = [fleet.client.send(names[n % len(names)], "nothing").message_id for n in range(total)]
        sent_s = time.monotonic() - began_s
        fleet.start(*names)
        begun, began_s = _acknowledged(fleet, ids), time.monotonic()
        wait_until(lambda: _acknowledged(fleet, ids) == total, what="all messages", timeout_s=300, every_s=0.5)
        handled_s = time.monotonic() - began_s
        trial.report(
            None,
            [
                Target("lost", total - _acknowledged(fleet, ids), 0),
                Target("sends of one sender", round(total / sent_s), 300, "a second", at_least=True, timing=True),
                Target("handled", round((total - begun) / handled_s), 150, "a second", at_least=True, timing=True),
            ],
            load=f"{total} messages, {len(names)} agents, one sender, `always`",
            counts={"accepted": total, "ok": _acknowledged(fleet, ids), "lost": total - _acknowledged(fleet, ids)},
        )


def _acknowledged(fleet: Fleet, ids: Sequence[str]) -> int:
    store = fleet.client.store
    with store.client.pipeline(transaction=False) as pipe:
        for message_id in ids:
            pipe.hget(store.keys.message(message_id), "state")
        return pipe.execute().count("acknowledged")
