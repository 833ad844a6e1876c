"""Pages of runs and of messages: they meet each run once, find what is asked for, and cost little among thousands."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import redis

from orchestrator.agents.post import PostOffice
from orchestrator.ids import new_id
from orchestrator.records import Advance, Order
from orchestrator.states import MessageState, RunState
from orchestrator.store import listing
from orchestrator.store.connection import blocking
from orchestrator.store.correspondence import sent_lately
from orchestrator.store.runs import RunStore
from orchestrator.workflow.segments import dispatch_table
from tests.conftest import KEYS
from tests.factories import plan, task
from tests.store.test_listing import RoundTrips

Create = Callable[..., tuple[str, Advance]]


def pages(store: RunStore, **asked: Any) -> list[list[str]]:
    """The ids of all pages, one after the other."""
    found, after = [], None
    while True:
        page = store.page_of_runs(after=after, **asked)
        found.append([run.id for run in page.runs])
        after = page.next
        if after is None:
            return found


def flat(found: list[list[str]]) -> list[str]:
    return list(chain.from_iterable(found))


def orders(run_ids: list[str]) -> list[Order]:
    made = plan(task("a"))
    return [Order(run_id, made, {}, dispatch_table, "medium", 60_000) for run_id in run_ids]


@pytest.mark.parametrize("limit", [1, 4, 10, 25])
def test_the_pages_of_all_runs_meet_each_once(store: RunStore, create: Create, limit: int) -> None:
    ids = {create(plan(task("a")))[0] for _ in range(20)}
    found = pages(store, limit=limit)
    assert [len(page) for page in found] == [limit] * (20 // limit) + ([20 % limit] if 20 % limit else [])
    assert flat(found) == [run.id for run in store.list_runs(limit=100)]
    assert set(flat(found)) == ids


def test_a_page_goes_on_behind_the_one_before_though_runs_came_and_went(store: RunStore, create: Create) -> None:
    store.create_runs(orders([new_id() for _ in range(6)]))
    order = [run.id for run in store.list_runs()]
    first = store.page_of_runs(limit=3)
    create(plan(task("a")))
    assert [run.id for run in store.page_of_runs(limit=3, after=first.next).runs] == order[3:]
    store.client.delete(*store.client.keys(KEYS.run(order[2]) + "*"))
    store.list_runs()  # drops it
    assert set(order[3:]) <= {run.id for run in store.page_of_runs(limit=9, after=first.next).runs}


def test_a_search_finds_the_beginning_of_an_id_and_part_of_a_name(
    store: RunStore, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 5)
    for number in range(20):
        create(plan(task("a"), name="rare-report" if number in (3, 17) else "other"))
    assert flat(pages(store, text="RARE", limit=1)) == ["r18", "r4"]
    assert flat(pages(store, text="r18", limit=5)) == ["r18"]
    assert flat(pages(store, text="rare", workflow="other", limit=5)) == []
    assert len(flat(pages(store, text="r1", state=RunState.PENDING, limit=4))) == 11
    assert flat(pages(store, text="nothing", limit=5)) == []


def test_a_search_for_what_is_rare_ends_and_goes_on_from_there(
    store: RunStore, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 5)
    monkeypatch.setattr(listing, "LOOKED_AT", 10)
    for number in range(30):
        create(plan(task("a"), name="rare" if number == 0 else "other"))
    assert pages(store, workflow="rare", limit=5) == [[], [], ["r1"]]


def test_progress_is_the_share_of_the_steps_that_are_done(store: RunStore, create: Create) -> None:
    half, done, fresh, stopped = (create(plan(task("a"), task("b", "a")))[0] for _ in range(4))
    for run_id, steps in ((half, "a"), (done, "ab")):
        for step in steps:
            store.claim_step(run_id, step, worker="w", lease_ms=60_000)
            store.finish_step(run_id, step, 1, '"x"')
    store.cancel_run(stopped)
    page = store.page_of_runs()
    assert page.progress == {half: 0.5, done: 1.0, fresh: 0.0}


def test_a_page_among_ten_thousand_runs_takes_as_many_round_trips_as_among_ten(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = RoundTrips(monkeypatch).of
    ids = [new_id() for _ in range(10_000)]
    store.create_runs(orders(ids[:10]))
    few = counted(lambda: store.page_of_runs(limit=5))
    for at in range(10, 10_000, 500):
        store.create_runs(orders(ids[at : at + 500]))
    newest = store.page_of_runs(limit=50)
    assert counted(lambda: store.page_of_runs(limit=5)) == few
    behind = f"0-{ids[100]}"
    oldest = store.page_of_runs(limit=50, after=behind)
    assert len(newest.runs) == len(oldest.runs) == 50
    assert counted(lambda: store.page_of_runs(limit=50, after=behind)) == few + 1, "where in the list it begins"
    assert counted(lambda: store.page_of_runs(text="no such", limit=50)) <= 23, "ten thousand, 500 at a time"


def test_news_of_several_runs_come_in_one_round_trip(
    store: RunStore, create: Create, client: redis.Redis, server: Any
) -> None:
    first, second, third = (create(plan(task("a")))[0] for _ in range(3))
    reading = blocking(server.url, block_s=0.2)
    after = {first: "0", second: store.read_events(second)[-1].id}
    found = store.read_news(reading, after, block_ms=20)
    assert {run_id: [event.name for event in events] for run_id, events in found.items()} == {
        first: [event.name for event in store.read_events(first)]
    }
    assert store.read_news(reading, {second: after[second]}, block_ms=20) == {}
    store.cancel_run(second)
    assert [event.name for event in store.read_news(reading, after, block_ms=20)[second]][-1] == "run.cancelled"
    assert third not in found


# --- messages -------------------------------------------------------------------------------------------------------


def texts(found: tuple[list[Any], str | None]) -> list[str]:
    return [record.message.text for record in found[0]]


def test_messages_that_were_sent_lately_are_found_by_agent_and_state(client: redis.Redis, office: PostOffice) -> None:
    asked: dict[str, Any] = {"agent": None, "state": None, "before": None, "limit": 10}
    for number in range(3):
        office.send("writer", f"to writer {number}", sender="operator")
    office.send("ada", "to ada", sender="writer")
    office.handoff("writer", "draft", {"topic": "x"}, sender="operator")
    office.inbox.claim(["ada"], receiver="me", lease_ms=60_000)
    assert texts(sent_lately(client, KEYS, **asked)) == ["to ada", "to writer 2", "to writer 1", "to writer 0"]
    assert texts(sent_lately(client, KEYS, **asked | {"agent": "ada"})) == ["to ada"]
    assert texts(sent_lately(client, KEYS, **asked | {"agent": "operator", "limit": 2})) == [
        "to writer 2",
        "to writer 1",
    ]
    assert texts(sent_lately(client, KEYS, **asked | {"state": MessageState.DELIVERED})) == ["to ada"]


def test_the_pages_of_messages_meet_each_once(client: redis.Redis, office: PostOffice) -> None:
    for number in range(7):
        office.send("writer", str(number), sender="operator")
    found: list[str] = []
    before = None
    while True:
        page = sent_lately(client, KEYS, agent="writer", state=None, before=before, limit=3)
        found += texts(page)
        before = page[1]
        if before is None:
            break
    assert found == ["6", "5", "4", "3", "2", "1", "0"]
