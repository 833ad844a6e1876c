"""Celery alone, when its queue holds junk, copies or a flood; and when it is idle."""

from __future__ import annotations

import base64
import json
import time
from functools import partial

import pytest

from tests.faults.bare.harness import Bare, both, names, together
from tests.faults.checker import percentile
from tests.faults.proxy import Echo
from tests.faults.trial import Trial
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

#: Texts that are pushed as they are.
TEXTS = {
    "text": "this is not JSON", "list": "[1,2]", "deep": "[" * 3000 + "]" * 3000, "object": "{}", "body": '{"body":1}',
}  # fmt: skip
KINDS = (*TEXTS, "pickle", "unknown", "typed")
GOOD = 5
JUNK_WAIT_S = 10.0


@pytest.mark.fault("bare_F22", "Celery alone: junk on the queue", star=True)
def test_junk(trial: Trial) -> None:
    side = trial.enter(Bare(trial, "best"))
    workers = {kind: side.start(concurrency=1, queue=f"celery-{kind}", wait=False)[0] for kind in KINDS}
    for worker in workers.values():
        side.await_ready(worker)
    side.send(["template"], options={"queue": "template"})
    for kind in KINDS:
        push_junk(side, kind)
        side.send(names(GOOD, f"good-{kind}"), options={"queue": f"celery-{kind}"})
    until_s = time.monotonic() + JUNK_WAIT_S
    while good_left(side) and time.monotonic() < until_s:
        time.sleep(0.2)
    dead = [kind for kind, worker in workers.items() if not worker.alive]
    kept = kinds_kept(side)
    trial.report(
        None,
        counts={
            "best": {
                "junk": len(KINDS), "kept": len(kept), "workers_dead": len(dead),
                "good": GOOD * len(KINDS), "good_waiting": len(good_left(side)),
            }
        },
        load=f"{len(KINDS)} kinds, a worker x 1 and {GOOD} good tasks for each",
        about=f"the worker exits on {', '.join(dead)}; kept, or recorded as failed: {', '.join(kept) or 'nothing'}",
    )  # fmt: skip


def push_junk(side: Bare, kind: str) -> None:
    queue = f"celery-{kind}"
    if kind == "unknown":
        side.send(["junk-unknown"], "nobody.knows.it", options={"queue": queue})
    elif kind == "typed":
        side.send(["junk-typed"], options={"queue": queue}, pad={"__type__": "nope", "__value__": 1})
    else:
        with side.server.client() as client:
            message = json.loads(client.lindex("template", 0))
            message["content-type"] = "application/x-python-serialize"
            message["body"] = base64.b64encode(b"cos\ngetpid\n(tR.").decode()
            client.lpush(queue, TEXTS.get(kind, json.dumps(message)))


def good_left(side: Bare) -> set[str]:
    place = side.place()
    return {key for key in place.accepted if key.startswith("good")} - place.ended


def kinds_kept(side: Bare) -> list[str]:
    """The kinds that are still anywhere in the broker, or whose failure is recorded."""
    failed = side.place().failed
    with side.server.client() as client:
        held = [*client.hvals("unacked"), *(x for k in KINDS for x in client.lrange(f"celery-{k}", 0, -1))]
    texts = "\n".join(held)
    return [
        kind for kind in KINDS
        if f"junk-{kind}" in failed or (kind in TEXTS and TEXTS[kind] in held) or f"junk-{kind}" in texts
    ]  # fmt: skip


COPIED = 100


@pytest.mark.fault("bare_F23", "Celery alone: every message 2 to 5 times", star=True)
def test_copies(trial: Trial) -> None:
    total = trial.scale(COPIED)
    side = trial.enter(Bare(trial, "best"))
    side.start()
    with Echo(side.server.url, seed=trial.seed, queues="celery") as echo:
        side.send(names(total), ms=20)
        wait_until(lambda: len(side.runs()) == total, what="all tasks", timeout_s=60)
    with side.server.client() as client:
        wait_until(lambda: not side.queued(client) and not side.unacked(client), what="the copies", timeout_s=60)
    trial.report(
        None,
        counts={"best": side.counts(copies=echo.pushed)},
        load=f"{total} tasks of 20 ms, 1 worker x 2",
    )


FLOOD, URGENT_EVERY, TASK_MS = 600, 20, 100
MEASURED = 100  # messages that wait, for their room
LOW, HIGH = 9, 0  # of kombu's redis transport


@pytest.mark.fault("bare_F24", "Celery alone: a flood, and urgent tasks", star=True)
def test_flood(trial: Trial) -> None:
    total = trial.scale(FLOOD)
    sides = both(trial, broker_transport_options={"queue_order_strategy": "priority"})
    bytes_each: dict[str, int] = {}
    together(*(partial(flood, side, total, bytes_each) for side in sides))
    trial.report(
        None,
        counts={side.settings: flood_counts(side, bytes_each[side.settings]) for side in sides},
        load=f"{total} tasks of {TASK_MS} ms as fast as they go, every {URGENT_EVERY}th urgent, 1 worker x 2",
        about="with `queue_order_strategy: priority`; the queue has no limit",
    )


def flood(side: Bare, total: int, bytes_each: dict[str, int]) -> None:
    with side.server.client() as client:
        side.send(names(MEASURED, "idle"), options={"priority": LOW}, pad="x" * 200)
        before = client.info("memory")["used_memory"]
        side.send(names(MEASURED, "more"), options={"priority": LOW}, pad="x" * 200)
        bytes_each[side.settings] = round((client.info("memory")["used_memory"] - before) / MEASURED)
    side.start()
    urgent = total // URGENT_EVERY
    for batch in range(urgent):
        side.send(names(URGENT_EVERY - 1, f"low-{batch}"), options={"priority": LOW}, ms=TASK_MS)
        side.send([f"high-{batch}"], options={"priority": HIGH}, ms=TASK_MS)
    wait_until(lambda: len(waits_of_urgent(side)) == urgent, what="the urgent tasks", timeout_s=60)


def waits_of_urgent(side: Bare) -> list[float]:
    book = side.book
    return [
        tries[0].start_s - book.fates[key].tried_s
        for (key, _), tries in book.tries_of.items()
        if key.startswith("high")
    ]


def flood_counts(side: Bare, bytes_each: int) -> dict[str, float]:
    waits = waits_of_urgent(side)
    return {
        "accepted": len(side.place().accepted),
        "urgent_wait_p50_s": round(percentile(waits, 0.5), 2), "urgent_wait_max_s": round(max(waits), 2),
        "bytes_per_waiting": bytes_each,
    }  # fmt: skip


SLOW, IDLE_RATE = 200, 20.0


@pytest.mark.fault("bare_L1", "Celery alone: latency idle, send to start of the task, `always`", star=True)
def test_latency_idle(trial: Trial) -> None:
    total = trial.scale(SLOW)
    side = trial.enter(Bare(trial, "defaults"))
    side.start()
    side.send(names(5, "warm"), rate=5)
    side.send(names(total), rate=IDLE_RATE)
    wait_until(lambda: len(side.runs()) == total + 5, what="all tasks", timeout_s=60)
    book = side.book
    tries = [tries[0] for (key, _), tries in book.tries_of.items() if not key.startswith("warm")]
    waits_ms = [1000 * (one.start_s - book.fates[one.key].tried_s) for one in tries]
    trial.report(
        None,
        counts={"defaults": {f"p{part}_ms": round(percentile(waits_ms, part / 100), 1) for part in (50, 95, 99)}},
        load=f"{total} tasks, {IDLE_RATE:g} a second, 1 worker x 2",
    )
