"""The journal on a real server: what goes into it, how it is read and followed, positions and gaps."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from orchestrator import Client, Settings
from orchestrator.records import JournalEntry, StepError
from orchestrator.sinks import pump
from orchestrator.sinks.sink import SinkFailed
from orchestrator.store.connection import blocking
from orchestrator.store.directory import Directory
from orchestrator.store.journal import BEGINNING, Journal
from orchestrator.store.runs import RunStore
from tests.conftest import KEYS
from tests.factories import plan, task
from tests.waiting import wait_until


@pytest.fixture
def journal(client: redis.Redis) -> Journal:
    return Journal(client, KEYS)


def add(client: redis.Redis, *names: str) -> list[str]:
    return [str(client.xadd(KEYS.journal, {"e": name})) for name in names]


def names(entries: list[JournalEntry]) -> list[str]:
    return [entry.name for entry in entries]


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_and_its_steps_are_in_the_journal_with_ids_and_without_data(
    store: RunStore, create: Callable[..., Any], journal: Journal
) -> None:
    run_id, _ = create(plan(task("a")))
    claim = store.claim_step(run_id, "a", worker="w1", lease_ms=1000)
    assert claim is not None
    store.note_progress(run_id, "a", 1, 0.5, "half")
    store.fail_step(run_id, "a", 1, StepError("ValueError", "secret words"), retry_delay_ms=None)
    entries = journal.read()
    assert names(entries) == ["run.created", "run.started", "step.started", "step.failed", "run.failed"]
    assert entries[0].data == {"run": run_id}
    assert entries[3].data == {"run": run_id, "step": "a", "attempt": "1"}
    assert "secret" not in json.dumps([entry.to_json() for entry in entries])


def test_a_run_that_succeeds_ends_in_the_journal(
    store: RunStore, create: Callable[..., Any], journal: Journal
) -> None:
    run_id, _ = create(plan(task("a")))
    store.claim_step(run_id, "a", worker="w1", lease_ms=1000)
    store.finish_step(run_id, "a", 1, "{}")
    assert names(journal.read())[-2:] == ["step.succeeded", "run.succeeded"]


# --- reading --------------------------------------------------------------------------------------------------------


def test_entries_have_long_names_and_the_time_of_the_server(client: redis.Redis, journal: Journal) -> None:
    entry_id = client.xadd(KEYS.journal, {"e": "message.sent", "m": "m1", "from": "bob", "a": "2"})
    (entry,) = journal.read()
    assert (entry.id, entry.at, entry.name) == (entry_id, int(entry_id.partition("-")[0]), "message.sent")
    assert entry.data == {"message": "m1", "from": "bob", "attempt": "2"}
    assert entry.to_json() | {"at": None} == {
        "id": entry_id, "at": None, "name": "message.sent", "message": "m1", "from": "bob", "attempt": "2",
    }  # fmt: skip


def test_what_agents_announce_is_in_the_journal(client: redis.Redis, journal: Journal) -> None:
    Directory(client, KEYS, lease_ms=1000).announce("agent.started", "ada", most=100)
    assert [(entry.name, entry.data) for entry in journal.read()] == [("agent.started", {"agent": "ada"})]


def test_reading_goes_on_behind_a_position(client: redis.Redis, journal: Journal) -> None:
    assert (journal.newest(), journal.read(), journal.tail(3)) == (BEGINNING, [], [])
    ids = add(client, "a", "b", "c")
    assert names(journal.read(count=2)) == ["a", "b"]
    assert names(journal.read(ids[1], 2)) == ["c"]
    assert names(journal.tail(2)) == ["b", "c"]
    assert journal.newest() == ids[2]


def test_following_gives_what_is_there_then_what_comes_and_none_when_idle(
    client: redis.Redis, journal: Journal, server: Any
) -> None:
    add(client, "a", "b")
    followed = journal.follow(blocking(server.url, block_s=0.5), BEGINNING, block_ms=20)
    assert [entry.name for entry in (next(followed), next(followed)) if entry] == ["a", "b"]
    assert next(followed) is None
    threading.Timer(0.05, add, (client, "c")).start()
    found = wait_until(lambda: next(followed), what="the entry", timeout_s=5)
    assert found.name == "c"


# --- positions ------------------------------------------------------------------------------------------------------


def test_a_position_is_kept_for_each_sink(journal: Journal) -> None:
    assert journal.position("one") == BEGINNING
    journal.save_position("one", "5-0")
    assert (journal.position("one"), journal.position("two")) == ("5-0", BEGINNING)


def test_a_gap_is_seen_when_entries_behind_a_position_were_trimmed(client: redis.Redis, journal: Journal) -> None:
    ids = add(client, *"abcd")
    assert not any(journal.gap(place) for place in (BEGINNING, *ids))
    client.xtrim(KEYS.journal, maxlen=1, approximate=False)
    assert journal.gap(ids[0])
    assert not journal.gap(ids[3])
    assert not journal.gap(BEGINNING)


# --- pump -----------------------------------------------------------------------------------------------------------


class Basket:
    """A sink that keeps names, and fails when it is told to."""

    name = "basket"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.broken = False

    def write(self, entries: Sequence[JournalEntry]) -> None:
        if self.broken:
            raise SinkFailed("the basket is full")
        self.batches.append(names(list(entries)))

    def close(self) -> None: ...


@pytest.fixture
def user(client: redis.Redis, server: Any) -> Client:
    return Client(Settings(url=server.url, prefix=KEYS.prefix), agents=())


def test_a_pump_goes_on_where_it_stopped_and_repeats_what_the_sink_did_not_keep(
    client: redis.Redis, user: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "BATCH", 2)
    basket = Basket()
    ids = add(client, *"abc")
    assert pump.Pump(user, basket).run_once() == pump.Pumped(3, ids[2], 0)
    assert basket.batches == [["a", "b"], ["c"]]
    basket.broken = True
    add(client, "d")
    with pytest.raises(SinkFailed, match="full"):
        pump.Pump(user, basket).run_once()
    assert journal.position("basket") == ids[2]
    basket.broken = False
    assert pump.Pump(user, basket).run_once().entries == 1
    assert basket.batches[2:] == [["d"]]


def test_a_pump_carries_what_comes_until_it_is_stopped(client: redis.Redis, user: Client) -> None:
    basket = Basket()
    add(client, "a")
    threading.Timer(0.05, add, (client, "b")).start()
    done = pump.Pump(user, basket).run(lambda: len(basket.batches) == 2)
    assert (done.entries, basket.batches) == (2, [["a"], ["b"]])


def test_a_pump_says_loudly_that_entries_are_missing(client: redis.Redis, user: Client, journal: Journal) -> None:
    basket = Basket()
    told: list[str] = []
    add(client, *"abcd")
    journal.save_position("basket", journal.read()[0].id)
    client.xtrim(KEYS.journal, maxlen=1, approximate=False)
    assert pump.Pump(user, basket, warn=told.append).run_once().gaps == 1
    assert basket.batches == [["d"]]
    assert told[0].startswith("ENTRIES ARE MISSING in basket: the journal was trimmed between ")
    assert pump.Pump(user, basket, warn=told.append).run_once() == pump.Pumped(0, journal.newest(), 0)
    assert len(told) == 1
