"""Celery alone, when its server, or the link to it, is hurt."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.faults.bare.harness import Bare, both, names, together
from tests.faults.oracle import Book
from tests.faults.proxy import DropReply, Link, Proxy, ResetAfter, Toxic, command
from tests.faults.servers import Server
from tests.faults.test_server_disk_full import small_disk
from tests.faults.trial import Trial
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

UNTIL_STOPPED = 20_000

TURNS, FROZEN = 4, 2  # times, workers of each setting
RESET_EVERY, UNDER_RESETS = 4, 60


@pytest.mark.fault("bare_F03", "Celery alone: torn pop by SIGSTOP, publish, SIGKILL; RST behind the pop", star=True)
def test_torn_pops(trial: Trial) -> None:
    turns = max(1, trial.scale(TURNS))
    sides = both(trial)
    together(*(partial(freeze_publish_kill, side, turns) for side in sides))
    counts = {side.settings: side.counts() for side in sides}
    resets, under_resets = lose_by_resets(trial)
    trial.report(
        None,
        counts={**counts, "best, connections reset": {**under_resets, "resets": resets}},
        load=f"{turns * FROZEN} frozen and killed workers of each setting, {resets} resets",
        about="lost: in no list of the server",
    )


def freeze_publish_kill(side: Bare, turns: int) -> None:
    for turn in range(turns):
        queues = [f"celery-{number}" for number in range(FROZEN)]
        workers = [side.start(concurrency=1, queue=queue, wait=False)[0] for queue in queues]
        for worker in workers:
            side.await_ready(worker)
            worker.freeze("main")
        for queue in queues:
            side.send([f"{queue}-{turn}"], options={"queue": queue})
        for worker in workers:
            worker.kill()
            side.workers.remove(worker)


def lose_by_resets(trial: Trial) -> tuple[int, dict[str, int]]:
    server = trial.enter(Server(trial.folder / "reset", tcp=True))
    proxy = trial.enter(Proxy(server.url, seed=trial.seed))
    side = trial.enter(Bare(trial, "best", name="resets", server=server, worker_url=proxy.url))
    side.start()
    reset = ResetAfter(match=command("BRPOP"), n=RESET_EVERY)
    with proxy.toxic(reset):
        side.send(names(trial.scale(UNDER_RESETS)), rate=8)
    side.settle(20)
    return reset.seen // RESET_EVERY, side.counts()


KILLS, DOWN_S, RATE = 5, 2.0, 20.0


@pytest.mark.fault("bare_F07", "Celery alone: Redis `kill -9`, 2 s down, AOF `always`", star=True)
def test_server_kills(trial: Trial) -> None:
    kills = max(1, trial.scale(KILLS))
    sides = both(trial)
    together(*(partial(kill_server, side, random.Random(trial.seed), kills) for side in sides))
    trial.report(
        None,
        counts={side.settings: {**side.counts(kills=kills), **recovery_of(side)} for side in sides},
        load=f"{RATE:g} tasks a second of 100 ms, 2 workers x 2, {kills} kills, workers that exit are started again",
    )


def kill_server(side: Bare, chance: random.Random, kills: int) -> None:
    side.start(2)
    over = side.folder / "stop"
    side.begin(names(UNTIL_STOPPED), rate=RATE, until=over, ms=100)
    for _ in range(kills):
        side.wait(chance.uniform(2, 4))  # the moment of the kill is what is drawn
        side.server.kill()
        side.wait(DOWN_S)
        side.server.start()
        side.pen.write("healed", "server")
    side.wait(3)  # what comes after the last fault
    over.touch()
    side.sent()
    side.settle(15)


def recovery_of(side: Bare) -> dict[str, float]:
    """The slowest send, and the longest wait for a first start after a fault."""
    book = side.book
    healed = [line["at_s"] for line in book.faults if line["what"] == "healed"]
    starts = sorted(one.start_s for one in book.tries)
    waits = [min((start - at for start in starts if start >= at), default=-1.0) for at in healed]
    recovery = {"recovery_max_s": round(max(waits), 1)} if min(waits) >= 0 else {"not_recovered": waits.count(-1.0)}
    return {"slowest_send_s": side.slowest_send_s, **recovery}


CUTS, CUT_RATE = 5, 200.0


@pytest.mark.parametrize(
    "fsync",
    [
        pytest.param("always", marks=pytest.mark.fault("bare_F08", "Celery alone: power cuts, `always`", star=True)),
        pytest.param(
            "everysec", marks=pytest.mark.fault("bare_F08b", "Celery alone: power cuts, `everysec`", star=True)
        ),
    ],
)
def test_power_cuts(trial: Trial, fsync: str) -> None:
    cuts = max(2, trial.scale(CUTS))
    server = trial.enter(Server(trial.folder / "server", tcp=True, shim=True, appendfsync=fsync))
    side = trial.enter(Bare(trial, "defaults", server=server))
    over = trial.folder / "stop"
    side.begin(names(UNTIL_STOPPED), rate=CUT_RATE, until=over)
    for _ in range(cuts):
        time.sleep(trial.chance.uniform(0.5, 2.5))  # the moment of the cut is what is drawn
        server.cut_power()
        server.start()
    time.sleep(0.5)
    over.touch()
    side.sent()
    counts = side.counts()
    kept = {name: counts[name] for name in ("accepted", "refused", "lost")}
    trial.report(
        None,
        counts={"defaults": {**kept, "doubled": doubled(side), "cuts": cuts}},
        load=f"{cuts} cuts, {CUT_RATE:g} sends a second",
        about="lost by the server; no worker ran",
    )


def doubled(side: Bare) -> int:
    """Messages in the queue beyond one for each task."""
    with side.server.client() as client:
        queued = side.queued(client)
    return len(queued) - len(set(queued))


FULL_S, SHORTEST_S = 6.0, 4.0


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a file system")
@pytest.mark.parametrize(
    "fsync",
    [
        pytest.param("always", marks=pytest.mark.fault("bare_F11", "Celery alone: disk full, `always`", star=True)),
        pytest.param(
            "everysec", marks=pytest.mark.fault("bare_F11b", "Celery alone: disk full, `everysec`", star=True)
        ),
    ],
)
def test_disk_full(trial: Trial, fsync: str) -> None:
    full_s = max(SHORTEST_S, FULL_S * trial.load)
    disk = trial.enter(small_disk(trial.folder / "disk"))
    server = trial.enter(Server(disk.place / "server", tcp=True, appendfsync=fsync))
    side = trial.enter(Bare(trial, "best", server=server))
    side.start()
    over = trial.folder / "stop"
    side.begin(names(UNTIL_STOPPED), rate=RATE, until=over, ms=50)
    wait_until(lambda: len(side.runs()) > 20, what="the first tasks", timeout_s=30)
    disk.fill()
    side.wait(full_s)  # how long the disk is full is what is tested
    disk.grow()
    exits = int(not server.running)
    if exits:
        server.start()
    side.pen.write("healed", "disk")
    side.wait(5)  # what comes after the fault
    over.touch()
    side.sent()
    side.settle(20)
    trial.report(
        None,
        counts={"best": {**side.counts(server_exits=exits), **recovery_of(side)}},
        load=f"1 MiB, full for {full_s:g} s, {RATE:g} tasks a second, 1 worker x 2",
        about="the server had to be started again by hand" if exits else "",
    )


ROOM_BYTES, PAD_BYTES = 3_000_000, 10_000
FULL_WAIT_S = 6.0


@pytest.mark.fault("bare_F12", "Celery alone: `maxmemory` reached", star=True)
def test_memory_full(trial: Trial) -> None:
    sides = both(trial)
    together(*(partial(fill_memory, side) for side in sides))
    trial.report(
        None,
        counts={side.settings: side.counts() for side in sides},
        load=f"tasks of {PAD_BYTES // 1000} kB into {ROOM_BYTES // 1_000_000} MB, then no room for {FULL_WAIT_S:g} s, "
        "1 worker x 2 that is started again if it exits",
    )


def fill_memory(side: Bare) -> None:
    side.start()
    with side.server.client() as client:
        room = client.info("memory")["used_memory"] + ROOM_BYTES
    side.server.config(maxmemory=str(room))
    over = side.folder / "stop"
    side.begin(names(UNTIL_STOPPED), until=over, ms=100, pad="x" * PAD_BYTES)
    wait_until(lambda: side.refused, what="a refused send", timeout_s=60)
    over.touch()
    side.sent()
    side.server.config(maxmemory=str(room - ROOM_BYTES))  # as if somebody else had taken the rest
    side.wait(FULL_WAIT_S)  # how long the memory is full is what is tested
    side.server.config(maxmemory="0")
    side.settle(20)


CUT_S, AFTER_S = 30.0, 15.0


@dataclass(eq=False)
class Dead(Toxic):
    """Connections that were there during the cut never carry anything again; later ones do."""

    cut: bool = False
    links: set[int] = field(default_factory=set)

    async def treat(self, data: bytes, link: Link, chance: random.Random) -> list[bytes]:
        if self.cut:
            self.links.add(id(link))
        while id(link) in self.links:
            await asyncio.sleep(0.1)
        return [data]


@pytest.mark.fault("bare_F14", "Celery alone: half-open TCP between the worker and its server", star=True)
def test_half_open(trial: Trial) -> None:
    cut_s = max(10.0, CUT_S * trial.load)
    server = trial.enter(Server(trial.folder / "server", tcp=True))
    proxy = trial.enter(Proxy(server.url, seed=trial.seed))
    up, down = Dead("up"), Dead("down")
    down.links = up.links
    proxy.add(up, down)
    side = trial.enter(Bare(trial, "best", server=server, worker_url=proxy.url))
    [worker] = side.start()
    over = trial.folder / "stop"
    side.begin(names(UNTIL_STOPPED), rate=5, until=over, ms=100)
    wait_until(lambda: len(side.runs()) > 10, what="the first tasks", timeout_s=30)
    began, before = time.monotonic(), len(side.text(worker))
    up.cut = down.cut = True
    noticed_s = None
    while time.monotonic() < began + cut_s:
        if noticed_s is None and any(word in side.text(worker)[before:] for word in ("onnection", "imeout")):
            noticed_s = round(time.monotonic() - began, 1)
        time.sleep(0.1)
    up.cut = down.cut = False
    healed_s = time.monotonic()
    resumed_s = first_start(side.book, healed_s)
    while resumed_s is None and time.monotonic() < healed_s + AFTER_S:
        time.sleep(0.1)
        resumed_s = first_start(side.book, healed_s)
    over.touch()
    side.sent()
    noticed = f"noticed after {noticed_s:g} s" if noticed_s is not None else f"not noticed within {cut_s:g} s"
    resumed = f"resumed {resumed_s:.1f} s after" if resumed_s is not None else f"not resumed {AFTER_S:g} s after"
    if resumed_s is not None:
        side.settle(10)
    trial.report(
        None,
        counts={"best": side.counts()},
        load=f"1 worker x 2, 5 tasks a second, {cut_s:g} s without a byte, old connections stay dead",
        about=f"{noticed}, {resumed} the link was there again; no `socket_timeout`, no keepalive, as by default",
    )


def first_start(book: Book, since_s: float) -> float | None:
    return min((one.start_s - since_s for one in book.tries if one.start_s >= since_s), default=None)


SENDS, SHARE = 400, 0.05


@pytest.mark.fault("bare_F16", "Celery alone: the reply to a publish is lost", star=True)
def test_replies_lost(trial: Trial) -> None:
    total = trial.scale(SENDS)
    server = trial.enter(Server(trial.folder / "server", tcp=True))
    proxy = trial.enter(Proxy(server.url, seed=trial.seed))
    side = trial.enter(Bare(trial, "defaults", server=server, sender_url=proxy.url))
    drop = DropReply(match=command("LPUSH"), p=SHARE)
    with proxy.toxic(drop):
        side.send(names(total))
    assert drop.dropped, "no reply was lost"
    counts = side.counts()
    kept = {name: counts[name] for name in ("accepted", "refused", "lost")}
    trial.report(
        None,
        counts={"defaults": {**kept, "replies_lost": drop.dropped, "doubled": doubled(side)}},
        load=f"{total} sends, {SHARE:.0%} of the replies to LPUSH lost",
        about="doubled: the same task is in the queue twice",
    )
