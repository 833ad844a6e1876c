"""lead, quiet: who keeps, how soon another one does, and what a keeper with nothing to do may leave out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from orchestrator.store.timers import Place, Timers
from tests.conftest import KEYS
from tests.factories import plan, task
from tests.waiting import wait_until

ALONE_MS, SHARED_MS = 600_000, 200


@pytest.fixture
def lead(timers: Timers) -> Callable[[str], Place]:
    """One look of a worker at the place."""
    return lambda name: timers.lead(name, alone_ms=ALONE_MS, shared_ms=SHARED_MS)


def test_one_keeper_at_a_time(lead: Callable[[str], Place], timers: Timers) -> None:
    assert lead("w1") == Place(True, "", alone=True)
    assert lead("w1") == Place(True, "w1", alone=True)
    assert not lead("w2").mine
    timers.resign("w2")
    assert not lead("w2").mine
    timers.resign("w1")
    assert lead("w2") == Place(True, "", alone=False), "its own note that it stands by is younger than a moment"


def test_who_stands_by_takes_the_place_of_a_dead_keeper_that_was_alone(lead: Callable[[str], Place]) -> None:
    lead("dead")
    assert lead("w2") == Place(False, "dead", left_ms=SHARED_MS), "not the ten minutes"
    wait_until(lambda: lead("w2").mine, what="the place to fall vacant", timeout_s=2)


def test_who_stands_by_wakes_the_keeper_once_and_shortens_what_it_takes_again(
    lead: Callable[[str], Place], timers: Timers, client: redis.Redis
) -> None:
    lead("w1")
    lead("w2")
    assert timers.wait(client, 1.0), "the keeper is woken, to show that it lives"
    assert lead("w1") == Place(True, "w1", alone=False)
    lead("w2")
    assert client.llen(KEYS.wake) == 0, "what was taken for a moment only shows that it lives"
    assert 0 < client.pttl(KEYS.keeper) <= SHARED_MS


def test_quiet_says_that_there_is_nothing_to_keep(
    lead: Callable[[str], Place], timers: Timers, client: redis.Redis, create: Callable
) -> None:
    assert not timers.quiet(), "nobody keeps"
    lead("w1")
    assert timers.quiet()
    create(plan(task("a")))
    assert not timers.quiet(), "a step waits for a worker"
    client.flushall()
    assert not timers.quiet(), "the place was deleted"


@pytest.mark.parametrize("key", [KEYS.timers, KEYS.message_timers, KEYS.ready, KEYS.rings])
def test_quiet_is_over_with_anything_to_do(
    lead: Callable[[str], Place], timers: Timers, client: redis.Redis, key: str
) -> None:
    lead("w1")
    client.zadd(key, {"something": 1})
    assert not timers.quiet()
    client.delete(KEYS.keeper)
    assert not timers.quiet(), "one key is there, and it is not the place"


def test_quiet_is_over_when_somebody_stands_by(lead: Callable[[str], Place], timers: Timers) -> None:
    lead("w1")
    lead("w2")
    assert not timers.quiet()
