"""What an idle worker costs the server, and that it wakes all the same."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import redis

from orchestrator.runtime.app import make_app
from orchestrator.runtime.event_batches import BEAT_S
from orchestrator.store.keys import Keys
from tests.acceptance.broker import ON_RABBITMQ
from tests.acceptance.team import Team, team
from tests.waiting import wait_until

SECONDS = 4.0
#: The consumer sends two commands each 2 s, the keeper two each 5 s, the heartbeat one each third of a lease, Flower's
#: one each 20 s, and every half minute there are a few more: which of these fall into the time is chance.
MOST = 2 * SECONDS + 6


def test_an_idle_worker_sends_two_commands_a_second_and_its_keeper_wakes_in_time(tmp_path: Path) -> None:
    with team(tmp_path) as crew:
        crew.start_worker("solo")
        wait_until(lambda: _asleep(crew.redis), what="consumer and keeper to sleep", timeout_s=20)
        before = _commands(crew.redis)
        time.sleep(SECONDS)  # the measure: it must not send much in this time
        sent = _commands(crew.redis) - before
        assert sent.total() <= MOST, sent
        # The keeper has begun to sleep a second ago, and would look again in four.
        began = time.monotonic()
        run = crew.run("steps: [{id: a, wait: {for: 1s}}, {id: b, agent: solo, task: echo, with: {value: 7}}]")
        assert (run.status(), time.monotonic() - began < 3) == ("succeeded", True), "what is due sooner wakes it"


def test_flower_hears_of_an_idle_worker_when_it_asks_and_of_what_it_has_done(crew: Team) -> None:
    app = make_app(crew.settings)
    beats: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"worker-heartbeat": beats.append})
        receiver.on_iteration = partial(app.control.broadcast, "enable_events")  # each second, as Flower each five
        events = receiver.itercapture(timeout=10, wakeup=False)

        def wait_for_beat(after: int) -> int:
            """Of the worker of `hand`, when it has done more than so much; within 10 s, or there is no next event."""
            while True:
                next(events)
                done = [beat["processed"] for beat in beats if beat["hostname"].startswith("hand.")]
                if done and done[-1] > after:
                    return int(done[-1])

        began = time.monotonic()
        done = wait_for_beat(-1)
        receiver.on_iteration = lambda: None
        crew.run("steps: [{id: a, agent: hand, task: echo}]")
        wait_for_beat(done)
        assert time.monotonic() - began < BEAT_S / 2, "not the beats that an idle worker sends by itself"
        events.close()
    app.close()


def _asleep(watch: redis.Redis) -> bool:
    """Whether they have waited on the server for 2 s: a moment after its start kombu looks at its bindings."""
    waits = [int(client["idle"]) for client in watch.client_list() if client["cmd"].startswith("blpop")]
    return len(waits) == (1 if ON_RABBITMQ else 2) and max(waits) >= 2 and watch.pttl(Keys().keeper) > 60_000


def _commands(watch: redis.Redis) -> Counter[str]:
    """Calls by command, those of scripts too; not the one that asks."""
    calls = {name.removeprefix("cmdstat_"): told["calls"] for name, told in watch.info("commandstats").items()}
    return Counter({name: count for name, count in calls.items() if name != "info"})
