"""Celery alone, when its workers and their children die, stop or freeze."""

from __future__ import annotations

import json
import random
import time
from functools import partial

import pytest

from tests.faults.bare.harness import Bare, both, names, together
from tests.faults.fleet import Worker
from tests.faults.trial import Trial
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

KILLS, BUSY_RATE = 5, 7.0  # tasks a second
WAIT_S = 60.0  # for what a dead worker had


@pytest.mark.fault("bare_F01", "Celery alone: worker and pool `kill -9` in mid-task", star=True)
def test_workers_killed(trial: Trial) -> None:
    kills = max(1, trial.scale(KILLS))
    sides = both(trial)
    together(*(partial(kill_workers, side, random.Random(trial.seed), kills) for side in sides))
    trial.report(
        None,
        counts={side.settings: side.counts(kills=kills) for side in sides},
        load=f"{BUSY_RATE:g} tasks of 500 ms a second, 2 workers x 2, {kills} kills",
        about=f"waiting: not taken over within {WAIT_S:g} s (visibility timeout 1 h)",
    )


def kill_workers(side: Bare, chance: random.Random, kills: int) -> None:
    over = side.folder / "stop"
    side.start(2)
    side.begin(names(5000), rate=BUSY_RATE, until=over, ms=500)
    for _ in range(kills):
        victim = side.workers[0]
        wait_until(partial(at_work, side, victim), what="a task in its middle", timeout_s=30)
        time.sleep(chance.uniform(0, 0.5))  # the moment of the kill is what is drawn
        victim.kill()
        side.replace(victim)
    over.touch()
    side.sent()
    side.settle(WAIT_S)


def at_work(side: Bare, worker: Worker) -> list[str]:
    """The tasks that this worker is in the middle of."""
    pids = worker.pids("child")
    return [one.key for one in side.book.tries if one.pid in pids and one.end_s is None]


RUNS = 10


@pytest.mark.fault("bare_F02", "Celery alone: killed between the next step and its own result", star=True)
def test_killed_between_publish_and_result(trial: Trial) -> None:
    total = max(2, trial.scale(RUNS))
    sides = both(trial)
    together(*(partial(crash_in_chains, side, total) for side in sides))
    trial.report(
        None,
        counts={side.settings: chains_of(side) for side in sides},
        load=f"{total} chains of 2, the child dies when it has published the second",
    )


def crash_in_chains(side: Bare, total: int) -> None:
    side.start(concurrency=5)
    side.send(names(total), "chain")
    wait_until(lambda: side.runs(), what="a chain", timeout_s=30)
    quiet(side, 5)


def chains_of(side: Bare) -> dict[str, int]:
    chains = side.book.fates
    ran = {(key, step): len(tries) for (key, step), tries in side.book.tries_of.items()}
    published = sum(ran.get((key, "first"), 0) > 0 for key in chains)
    assert published, "no chain has begun"
    return {
        "chains": len(chains),
        "ended": sum(ran.get((key, "second"), 0) > 0 for key in chains),
        "first_step_ran_again": sum(ran.get((key, "first"), 0) > 1 for key in chains),
        "next_step_ran_twice": sum(ran.get((key, "second"), 0) > 1 for key in chains),
        "workers_dead": side.exits,
    }


def quiet(side: Bare, seconds: float, timeout_s: float = 60) -> None:
    """Until no task has begun or ended for so long."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        last_s = max((line["at_s"] for line in side.book.lines), default=0.0)
        if time.monotonic() - last_s > seconds:
            return
        time.sleep(0.2)


CHILDREN = 20


@pytest.mark.fault("bare_F04", "Celery alone: only the child of a pool dies", star=True)
def test_children_killed(trial: Trial) -> None:
    total = max(2, trial.scale(CHILDREN))
    sides = both(trial)
    together(*(partial(kill_children, side, total) for side in sides))
    trial.report(
        None,
        counts={side.settings: side.counts(ran_again=ran_again(side)) for side in sides},
        load=f"{total} tasks that kill their child once, 1 worker x 5",
        about="failed: recorded as WorkerLostError, not run again",
    )


def kill_children(side: Bare, total: int) -> None:
    side.start(concurrency=5)
    side.send(names(total), kills="once")
    side.settle(WAIT_S)


def ran_again(side: Bare) -> int:
    """Starts beyond one for each task."""
    return len(side.book.tries) - len(side.book.fates)


RATE = 10.0
ROLLS = ("term", "quit")


@pytest.mark.fault("bare_F05", "Celery alone: rolling restart by SIGTERM, then SIGQUIT", star=True)
def test_rolling_restart(trial: Trial) -> None:
    sides = both(trial)
    together(*(partial(restart_all, side) for side in sides))
    trial.report(
        None,
        counts={side.settings: {**side.counts(), **lost_by(side)} for side in sides},
        load=f"{RATE:g} tasks of 200 ms a second, 2 workers x 2, each restarted once by TERM and once by QUIT",
    )


def restart_all(side: Bare) -> None:
    side.start(2)
    for roll in ROLLS:
        over = side.folder / roll
        side.begin(names(5000, roll), rate=RATE, until=over, ms=200)
        for worker in list(side.workers):
            wait_until(partial(at_work, side, worker), what="a task in its middle", timeout_s=30)
            getattr(worker, roll)()
            [successor] = side.start(wait=False)
            worker.wait(60)
            side.workers.remove(worker)
            worker.kill()
            side.await_ready(successor)
        over.touch()
        side.sent()
        side.settle(15)


def lost_by(side: Bare) -> dict[str, int]:
    lost = side.place().lost
    return {f"lost_by_{roll}": sum(key.startswith(roll) for key in lost) for roll in ROLLS}


ZOMBIES = 6
VISIBILITY_S = 5


@pytest.mark.fault("bare_F20", "Celery alone: a zombie answers when another one has finished", star=True)
def test_zombies(trial: Trial) -> None:
    side = trial.enter(Bare(trial, "best", broker_transport_options={"visibility_timeout": VISIBILITY_S}))
    [zombie] = side.start(concurrency=ZOMBIES)
    side.send(names(ZOMBIES), ms=1500)
    wait_until(lambda: len(at_work(side, zombie)) == ZOMBIES, what="work", timeout_s=30)
    pids = zombie.pids("child")
    zombie.freeze()
    frozen_s = time.monotonic()
    side.wait(VISIBILITY_S)  # a worker looks for what was left soon after its start, and then every 100 s
    side.start(concurrency=ZOMBIES)
    wait_until(lambda: len(side.place().ended) == ZOMBIES, what="the end of what was frozen", timeout_s=150)
    took_s = time.monotonic() - frozen_s
    zombie.thaw()
    wait_until(lambda: not at_work(side, zombie), what="the late answers", timeout_s=30)
    quiet(side, 2)
    late = [one for one in side.book.tries if one.pid in pids]
    results = results_of(side)
    recorded = sum(results.get(one.key) == one.pid for one in late)
    trial.report(
        None,
        counts={
            "best": side.counts(
                late=len(late), late_recorded=recorded,
                taken_over_s=round(took_s, 1),
            )
        },
        load=f"{len(late)} attempts frozen, visibility timeout {VISIBILITY_S} s, another worker starts after that",
        about=f"{recorded} of {len(late)} late results took the place of the first",
    )  # fmt: skip


def results_of(side: Bare) -> dict[str, object]:
    """key -> the result that Celery keeps."""
    with side.server.client() as client:
        metas = {key: client.get(f"celery-task-meta-{fate.id}") for key, fate in side.book.fates.items()}
    return {key: json.loads(meta)["result"] for key, meta in metas.items() if meta}


POISON, POISON_S = 3, 12.0


@pytest.mark.fault("bare_F21", "Celery alone: tasks that kill their process", star=True)
def test_poison(trial: Trial) -> None:
    sides = both(trial)
    together(*(partial(poison, side) for side in sides))
    counts = {side.settings: poison_counts(side) for side in sides}
    trial.report(
        None,
        counts=counts,
        load=f"{POISON} tasks that kill their child each time, 10 good ones a second for {POISON_S:g} s, 1 worker x 4",
        about="still going: when the test ended",
    )


def poison(side: Bare) -> None:
    side.start(concurrency=4)
    side.send(names(POISON, "poison"), kills="always")
    side.send(names(round(10 * POISON_S), "good"), rate=10, ms=20)
    wait_until(lambda: not [key for key in side.place().waiting if key.startswith("good")], what="rest", timeout_s=60)


def poison_counts(side: Bare) -> dict[str, int]:
    book = side.book
    good = [one for one in book.tries if one.key.startswith("good")]
    assert good, "no good task ran"
    place = side.place()
    return {
        "starts_of_poison": len(book.tries) - len(good),
        "poison_recorded_as_failed": len({key for key in place.failed if key.startswith("poison")}),
        "poison_still_going": len({key for key in place.waiting if key.startswith("poison")}),
        "good_accepted": len({key for key in place.accepted if key.startswith("good")}),
        "good_ended": len({key for key in place.ended if key.startswith("good")}),
        "workers_dead": side.exits,
    }


CHORDS, MEMBERS = 5, 10
HUNG_S = 30.0


@pytest.mark.fault("bare_F28", "Celery alone: chords whose members are killed or doubled", star=True)
def test_chords(trial: Trial) -> None:
    total = max(2, trial.scale(CHORDS))
    sides = both(trial)
    together(*(partial(join, side, total) for side in sides))
    trial.report(
        None,
        counts={side.settings: chords_of(side) for side in sides},
        load=f"{total} chords of {MEMBERS} each: members doubled; a member's child killed once; the worker killed",
        about=f"waiting: neither joined nor failed {HUNG_S:g} s after the kill of the worker",
    )


def join(side: Bare, total: int) -> None:
    side.send(names(total, "doubled"), "chord", options={"members": MEMBERS})
    with side.server.client() as client:
        for message in client.lrange("celery", 0, -1):
            client.lpush("celery", message)
    [worker] = side.start(concurrency=4)
    await_bodies(side, "doubled", 30)
    side.send(names(total, "child"), "chord", options={"members": MEMBERS, "kills": "once"})
    await_bodies(side, "child", 30)
    side.send(names(total, "worker"), "chord", ms=200, options={"members": MEMBERS})
    wait_until(lambda: any(one.startswith("worker") for one in at_work(side, worker)), what="members", timeout_s=60)
    worker.kill()
    side.replace(worker, concurrency=4)
    await_bodies(side, "worker", HUNG_S)


def open_chords(side: Bare, kind: str) -> set[str]:
    bodies = {key for (key, step), tries in side.book.tries_of.items() if step == "body"}
    return {key for key in side.book.fates if key.startswith(kind)} - bodies - side.place().failed


def await_bodies(side: Bare, kind: str, timeout_s: float) -> None:
    until_s = time.monotonic() + timeout_s
    while open_chords(side, kind) and time.monotonic() < until_s:
        time.sleep(0.2)


def chords_of(side: Bare) -> dict[str, int]:
    book = side.book
    found: dict[str, int] = {}
    failed = side.place().failed
    for kind in ("doubled", "child", "worker"):
        keys = {key for key in book.fates if key.startswith(kind)}
        ran = [len(book.tries_of.get((key, "body"), [])) for key in keys]
        assert keys
        found |= {
            f"{kind}_joined": sum(times == 1 for times in ran),
            f"{kind}_joined_twice": sum(times > 1 for times in ran),
            f"{kind}_failed": len(keys & failed),
            f"{kind}_waiting": len(open_chords(side, kind)),
        }
    return {**found, "workers_dead": side.exits}
