"""The audit: clean after every lawful move, in whatever order; and each kind of damage is named."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.agents.submission import launch, order_run
from orchestrator.records import Order
from orchestrator.settings import Settings
from orchestrator.store.audit import auditor
from orchestrator.store.runs import RunStore
from orchestrator.store.schedules import Schedule, Schedules
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from orchestrator.workflow.plan import Limit
from orchestrator.workflow.segments import dispatch_table
from tests.acceptance.random_graphs import Generated, workflows
from tests.conftest import KEYS
from tests.factories import foreach, plan, task
from tests.store.auditing import audit, told
from tests.store.crowd import ERROR, Crowd

_ids = itertools.count()


@pytest.fixture
def connection(client: redis.Redis) -> redis.Redis:
    return client


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves while these tests look."""
    monkeypatch.setattr(auditor, "_SECOND_LOOK_S", 0)


@settings(
    max_examples=15, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)  # fmt: skip
@given(generated=workflows(max_steps=25), seed=st.integers(0, 2**32), calls=st.integers(0, 80))
def test_the_audit_is_clean_after_every_move_of_a_generated_workflow(
    connection: redis.Redis, tmp_path_factory: pytest.TempPathFactory, generated: Generated, seed: int, calls: int
) -> None:
    connection.flushall()
    file = generated.write(tmp_path_factory.mktemp("walk"))
    store = RunStore(connection, KEYS)
    crowd = Crowd(store, seed)
    run_id = f"walk{next(_ids)}"
    crowd.take(launch(store, order_run(compile_workflow(load_workflow(file)), {}, Settings(), run_id=run_id))[1])
    assert told(connection) == []
    for _ in range(calls):
        crowd.anything()
        assert told(connection) == []
    crowd.work_off(run_id)
    report = audit(connection)
    assert report.findings == []
    assert report.runs.accepted == report.runs.terminal == len(crowd.runs)
    assert report.steps.accepted == report.steps.terminal


# --- damage to runs -------------------------------------------------------------------------------------------------


def hold(store: RunStore, run_id: str, step_id: str = "a") -> None:
    assert store.claim_step(run_id, step_id, worker="w", lease_ms=60_000) is not None


def test_where_everything_is_adds_up(client: redis.Redis, store: RunStore, create: Any) -> None:
    for _ in range(3):
        create(plan(task("a"), task("b", "a")))
    run_id, _ = create(plan(task("a"), task("b")))
    hold(store, run_id)
    done, _ = create(plan(task("a")))
    hold(store, done)
    store.finish_step(done, "a", 1, "1")
    report = audit(client)
    assert report.findings == []
    assert report.runs.to_json() == {
        "accepted": 5, "queued": 3, "leased": 1, "waiting": 0, "terminal": 1, "unaccounted": 0,
    }  # fmt: skip
    assert (report.steps.accepted, report.steps.queued, report.steps.leased, report.steps.terminal) == (6, 4, 1, 1)


def test_a_queued_step_without_its_entry_is_unaccounted_for(client: redis.Redis, create: Any, damaged: Any) -> None:
    run_id, _ = create(plan(task("a")))
    member = client.zrange(KEYS.ready, 0, 0)[0]
    assert damaged("ZREM", KEYS.ready, member) == [f"step {run_id} a: is pending, and nobody would miss its message"]
    assert audit(client).steps.unaccounted == 1


def test_an_entry_without_its_step_is_named(client: redis.Redis, store: RunStore, create: Any, damaged: Any) -> None:
    run_id, _ = create(plan(task("a")))
    member = client.zrange(KEYS.ready, 0, 0)[0]
    assert damaged("HDEL", KEYS.steps(run_id), "a") == [
        f"queue entry {member}: the step's record is gone",
        f"run {run_id}: nothing moves it on",
        f"step {run_id} a: its turn has come, and its record is gone",
    ]


def test_a_step_that_runs_without_a_lease_or_a_time_out(
    client: redis.Redis, store: RunStore, create: Any, damaged: Any
) -> None:
    run_id, _ = create(plan(task("a", timeout_ms=60_000)))
    hold(store, run_id)
    assert damaged("ZREM", KEYS.timers, f"lease {run_id} a 1") == [
        "counter running writer: is 1, and 0 were counted",
        f"step {run_id} a: attempt 1 runs, and its lease never ends",
    ]
    client.zadd(KEYS.timers, {f"lease {run_id} a 1": 1e13})
    assert damaged("ZREM", KEYS.timers, f"timeout {run_id} a 1") == [f"step {run_id} a: attempt 1 will not time out"]


def test_a_retry_or_a_decision_without_a_timer(client: redis.Redis, store: RunStore, create: Any, damaged: Any) -> None:
    run_id, _ = create(plan(task("a"), foreach("each")))
    hold(store, run_id)
    store.fail_step(run_id, "a", 1, ERROR, retry_delay_ms=60_000)
    [found] = damaged("ZREM", KEYS.timers, f"retry {run_id} a 1")
    assert found == f"step {run_id} a: waits for a time, and no timer is set"
    client.zadd(KEYS.timers, {f"retry {run_id} a 1": 1e13})
    [found] = damaged("ZREM", KEYS.timers, f"decide {run_id} each 0")
    assert found == f"step {run_id} each: is to be decided, and nothing asks for it"


def test_items_that_are_gone_and_an_end_that_nobody_asks_for(
    client: redis.Redis, store: RunStore, create: Any, damaged: Any
) -> None:
    run_id, _ = create(plan(foreach("each")))
    store.open_foreach(run_id, "each", ["1", "2"], None)
    record = client.hget(KEYS.steps(run_id), "each[1]")
    found = damaged("HDEL", KEYS.steps(run_id), "each[1]")
    assert f"step {run_id} each: 2 of its items are not over, and 1 are there" in found
    client.hset(KEYS.steps(run_id), "each[1]", record)
    for item in ("each[0]", "each[1]"):
        hold(store, run_id, item)
        store.finish_step(run_id, item, 1, "1")
    assert damaged("ZREM", KEYS.timers, f"decide {run_id} each 0") == [
        f"step {run_id} each: what is inside is over, and nothing asks what follows"
    ]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("HINCRBY", "t:run:r1", "active", 1), "counter active of run r1: is 2, and 1 attempt runs"),
        (("HINCRBY", "t:run:r1", "open", 2), "counter open of run r1: is 4, and 2 steps are not over"),
        (("HINCRBY", "t:queues", "running writer", 1), "counter running writer: is 2, and 1 were counted"),
        (("ZREM", "t:runs", "r1"), "run r1: is in no list: `runs` does not show it"),
        (("DEL", "t:run:r1:events"), "run r1: its history is gone"),
        (("PEXPIRE", "t:run:r1", 600_000), "run r1: is running, and its record expires"),
        (("DEL", "t:run:r1"), "run r1: its record is gone, and its steps or its history are left"),
        (("ZREM", "t:timers", "run r1 - 0"), "run r1: will not time out"),
        (("ZADD", "t:timers", 1e13, "retry r1 z 1"), "timer retry r1 z 1: is left over: the step is gone"),
        (("ZADD", "t:timers", 1e13, "lease r1 a 7"), "timer lease r1 a 7: is left over: the attempt does not run"),
        (("ZADD", "t:timers", 1e13, "lease r9 a 1"), "timer lease r9 a 1: the record of run r9 is gone"),
        (("ZADD", "t:ready", 0, "x low 1 r1 b"), "queue entry x low 1 r1 b: the step's record is gone"),
        (("ZADD", "t:slots:k", 0, "r9"), "place t:slots:k r9: the run is gone"),
        (("ZADD", "t:timers", 1e13, "junk"), "entry junk: cannot be understood: the orchestrator has not written this"),
        (("HSET", "t:run:r1:steps", "c", "{"), "entry r1: cannot be understood: the orchestrator has not written this"),
        (("SADD", "t:limit:k", "r1 a 0"), "place t:limit:k r1 a 0: the step has given it back, or is gone"),
    ],
)  # fmt: skip
def test_each_counter_record_and_entry_that_does_not_agree_is_named(
    store: RunStore, create: Any, damaged: Any, command: tuple[Any, ...], problem: str
) -> None:
    run_id, _ = create(plan(task("a"), task("b", "a"), timeout_ms=600_000))
    hold(store, run_id)
    assert problem in damaged(*command)


def test_the_plan_of_a_run_is_there_and_counted(client: redis.Redis, create: Any, damaged: Any) -> None:
    run_id, _ = create(made := plan(task("a")))
    [found] = damaged("HINCRBY", KEYS.plan(made.hash), "live", 1)
    assert found == f"counter live of plan {made.hash}: is 2, and 1 were counted"
    client.hincrby(KEYS.plan(made.hash), "live", -1)
    [found] = damaged("PEXPIRE", KEYS.plan(made.hash), 600_000)
    assert found == f"run {run_id}: its plan {made.hash} is gone, or expires"
    client.delete(KEYS.plan(made.hash))
    assert f"run {run_id}: its plan {made.hash} is gone" in told(client)


def test_a_run_that_is_over_has_nothing_open(client: redis.Redis, store: RunStore, create: Any, damaged: Any) -> None:
    run_id, _ = create(plan(task("a")))
    store.cancel_run(run_id)
    record = client.hget(KEYS.steps(run_id), "a")
    assert damaged("HSET", KEYS.steps(run_id), "b", '{"state": "pending"}') == [
        f"step {run_id} b: is pending, and its run is cancelled"
    ]
    client.hset(KEYS.steps(run_id), "b", record)
    assert damaged("PERSIST", KEYS.run(run_id)) == [f"run {run_id}: is cancelled and never expires"]


def test_places_under_a_key_and_under_a_limit(client: redis.Redis, store: RunStore, create: Any, damaged: Any) -> None:
    limited = task("a", limits=(Limit("api", max=1),))
    first, _ = create(plan(limited), slot="k", max_runs=1)
    waiting = store.create_run(
        Order("w1", plan(limited), {}, dispatch_table, priority="low", retention_ms=60_000, slot="k", max_runs=1)
    )[0]
    other, _ = create(plan(limited))
    hold(store, first)
    assert store.claim_step(other, "a", worker="w", lease_ms=60_000) is None, "it waits for the limit"
    assert damaged("SREM", KEYS.limit("api"), f"{first} a 0") == [
        f"step {first} a: has no place under the limit api, nor a turn"
    ]
    client.sadd(KEYS.limit("api"), f"{first} a 0")
    assert damaged("ZREM", f"{KEYS.limit('api')}:wait", f"{other} a 0") == [
        f"step {other} a: has no place under the limit api, nor a turn"
    ]
    client.zadd(f"{KEYS.limit('api')}:wait", {f"{other} a 0": 1})
    assert damaged("ZREM", KEYS.slots("k"), first) == [f"run {first}: has no place under k"]
    client.zadd(KEYS.slots("k"), {first: 1})
    assert damaged("ZREM", f"{KEYS.slots('k')}:wait", waiting) == [
        f"run {waiting}: waits for a place under k, and nothing will start it"
    ]
    assert audit(client).runs.unaccounted == 1


def test_a_schedule_without_a_timer_or_without_its_definition(
    client: redis.Redis, store: RunStore, damaged: Any
) -> None:
    made = plan(task("a"))
    store.save_plan(made, dispatch_table(made), 60_000)
    schedule = Schedule("daily", made.hash, "test", "0 9 * * *", "UTC", "skip", "none", {}, 10**13)
    Schedules(client, KEYS).put(schedule, [])
    assert damaged("ZREM", KEYS.timers, "schedule daily - 0") == ["schedule daily: is due, and no timer is set"]
    client.zadd(KEYS.timers, {"schedule daily - 0": 10**13})
    assert "schedule daily: its definition is gone, or expires" in damaged("DEL", KEYS.plan(made.hash))


def test_a_run_that_gets_its_place_while_it_is_paused_starts_when_it_goes_on(
    client: redis.Redis, store: RunStore, create: Any
) -> None:
    first, _ = create(plan(task("a")), slot="k", max_runs=1)
    order = Order("w1", plan(task("a")), {}, dispatch_table, priority="low", retention_ms=60_000, slot="k", max_runs=1)
    store.create_run(order)
    store.pause_run("w1")
    store.cancel_run(first)
    assert store.start_run("w1") is None
    assert told(client) == []
    store.pause_run("w1", pause=False)
    advance = store.start_run("w1")
    assert advance is not None
    assert [step.step_id for step in advance.ready] == ["a"]
    store.cancel_run("w1")
    assert told(client) == []
