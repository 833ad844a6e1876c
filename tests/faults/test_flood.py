"""F24: more messages than can be handled: a flood, then 100,000 that only wait; and a backlog of steps that is long."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from typing import Any

import pytest

from orchestrator.agents.drafts import draft_message
from orchestrator.errors import QueueFull
from tests.faults.agents import FAN, NAMES, fan_outputs
from tests.faults.checker import percentile
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book
from tests.faults.senders import start_sender_process
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

FLOOD, FLOOD_S, FLOODERS = 10_000, 10.0, 4
HIGH_RATE = 10.0  # messages a second with a higher priority than the flood
WAITING, AT_ONCE, BODY_BYTES = 100_000, 500, 200
WAITING_BYTES = 2000
FULL = 0.8
STEPS, WIDTH, BACKLOG_S, SLOW_MS = 10_000, 100, 300.0, 100
AGAIN = re.compile(r"WARNING sending \S+ \S+ again")


@pytest.mark.fault("F24", "a flood of 10,000 messages in 10 s, four agents, priorities", star=True)
@pytest.mark.timeout(500)
def test_urgent_messages_pass_a_flood_and_none_of_it_is_lost(trial: Trial) -> None:
    each = trial.scale(FLOOD) // FLOODERS
    flood_s = FLOOD_S * trial.load
    with Server(trial.folder / "server") as server:
        fleet = trial.fleet(url=server.url, durability="always", journal_events=1_000_000)
        fleet.start(*NAMES, concurrency=2)
        flooders = [
            start_sender_process(
                server.url, trial.oracle, each, to=NAMES, name=f"flood{n}", rate=each / flood_s, threads=8
            )
            for n in range(FLOODERS)
        ]
        wait_until(lambda: trial.count("try"), what="the flood", timeout_s=60, every_s=0.05)
        high = trial.messages(
            fleet, 1_000_000, to=NAMES, name="high", rate=HIGH_RATE, options={"priority": "high"}, threads=2
        )
        with high:
            codes = _wait(flooders)
            high.stop()
        assert codes == [0] * FLOODERS, "a sender has failed"
        verdict = trial.judge(fleet, timeout_s=400)
        book = Book.read(trial.oracle)
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("refused", verdict.counts["refused"], 0),
                Target("high priority p99", round(percentile(_latencies(book, "high"), 0.99), 3), 1, "s", timing=True),
            ],
            load=f"{each * FLOODERS} messages from {FLOODERS} senders, {_sent_s(book):.1f} s long, 4 agents x 2",
            counts={"high priority": len(_latencies(book, "high")), "handled a second": round(_handled_a_second(book))},
        )


def _wait(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    return [process.wait(200) for process in processes]


def _latencies(book: Book, name: str) -> list[float]:
    """Seconds from the try to send to the first start of the handler."""
    fates = [fate for fate in book.fates.values() if fate.key.startswith(f"{name}-")]
    return [book.tries_of[fate.key, ""][0].start_s - fate.tried_s for fate in fates if book.tries_of[fate.key, ""]]


def _sent_s(book: Book) -> float:
    accepted = [fate.accepted_s for fate in book.fates.values() if fate.accepted_s and fate.key.startswith("flood")]
    return max(accepted) - min(accepted)


def _handled_a_second(book: Book) -> float:
    ends = [one.end_s for one in book.tries if one.end_s]
    return len(ends) / (max(ends) - min(ends))


@pytest.mark.fault("F24c", "100,000 messages that nobody handles, then no room for more", star=True)
@pytest.mark.timeout(400)
def test_messages_that_wait_take_little_room_and_a_full_server_says_so(trial: Trial) -> None:
    total = trial.scale(WAITING)
    with Server(trial.folder / "server") as server, server.client() as beside:
        fleet = trial.fleet(url=server.url, durability="always")
        fleet.start("delta", concurrency=1)
        fleet.stop()
        empty = _used_bytes(beside)
        began_s, sent = time.monotonic(), 0
        while sent < total:
            sent += _send(fleet, AT_ONCE)
        sent_s = time.monotonic() - began_s
        each = (_used_bytes(beside) - empty) / sent
        server.config(maxmemory=str(round((_used_bytes(beside) + AT_ONCE * each) / FULL)))
        sent += _send_until_full(fleet)
        states = _states(fleet)
        trial.report(
            None,
            [
                Target("lost", sent - states["pending"], 0),
                Target("of another state", states.total() - states["pending"], 0),
                Target("memory of a waiting message", round(each), WAITING_BYTES, "B"),
                Target("evicted", beside.info("stats")["evicted_keys"], 0),
            ],
            load=f"{total} messages of {BODY_BYTES} B, {AT_ONCE} in a call",
            counts={"accepted": sent, "lost": sent - states["pending"], "sent a second": round(total / sent_s)},
        )


def _send(fleet: Fleet, count: int) -> int:
    """Messages of one call, all stored or none."""
    settings, office = fleet.client.settings, fleet.client.office
    text = "x" * (BODY_BYTES - len('{"content":""}'))
    drafts = [draft_message(settings, to="delta", sender="tester", content=text) for _ in range(count)]
    with fleet.client.asking():
        return len(office.post(drafts))


def _send_until_full(fleet: Fleet) -> int:
    """How many more were accepted before one was refused."""
    sent = 0
    while True:
        try:
            sent += _send(fleet, AT_ONCE)
        except QueueFull as error:
            print(error.message)
            return sent


def _used_bytes(server: Any) -> int:
    return int(server.info("memory")["used_memory"])


def _states(fleet: Fleet) -> Counter[str]:
    """How many of the messages that are in the inbox are in which state; one that has no record counts as `gone`."""
    redis, keys = fleet.client.store.client, fleet.client.store.keys
    found: Counter[str] = Counter()
    members = redis.zrange(keys.inbox("delta"), 0, -1)
    for at in range(0, len(members), 1000):
        with redis.pipeline(transaction=False) as pipe:
            for member in members[at : at + 1000]:
                pipe.hget(keys.message(member), "state")
            found.update(state or "gone" for state in pipe.execute())
    return found


@pytest.mark.fault("F24b", "a backlog of 10,000 steps and one slow worker for 5 minutes", star=True)
@pytest.mark.timeout(500)
def test_a_backlog_that_is_merely_long_makes_no_extra_messages(trial: Trial) -> None:
    steps = trial.scale(STEPS)
    runs = steps // WIDTH
    fleet = trial.fleet()
    fleet.start("alpha", concurrency=1)
    width = {"width": list(range(WIDTH)), "ms": SLOW_MS}
    with trial.runs(fleet, runs, workflow=FAN, inputs=width, threads=1):
        pass
    began_s = time.monotonic()
    wait_until(lambda: trial.count("end"), what="the first steps", timeout_s=60)
    time.sleep(BACKLOG_S * trial.load)  # how long the backlog lasts is what is tested
    queued = _queued(fleet)
    assert queued > steps / 10, "there is no backlog any more"
    again = len(AGAIN.findall(fleet.log))
    done = trial.count("end")
    lasted_s = time.monotonic() - began_s
    for run in fleet.client.runs(limit=runs):
        fleet.client.run(run.id).cancel()
    ends = {"cancelled", "succeeded"}
    verdict = trial.judge(fleet, timeout_s=60, outputs=lambda key: fan_outputs(WIDTH), endings=lambda key: ends)
    trial.report(
        verdict,
        [
            Target("sent again", again, steps / 100),
            Target("messages on the queue beyond the waiting steps", queued - (steps - done), steps / 100),
        ],
        load=f"{steps} steps of {runs} runs, one worker with one slot, steps of {SLOW_MS} ms, {lasted_s:.0f} s",
        counts={"steps": steps, "done": done, "sent again": again},
    )


def _queued(fleet: Fleet) -> int:
    """The messages on alpha's queue, of all priorities."""
    redis = fleet.client.store.client
    return sum(redis.llen(key) for key in redis.scan_iter("agent.alpha*") if not key.endswith("wake"))
