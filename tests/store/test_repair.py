"""lapse_lease, extend_lease, cancel_run, take_due, find_lost, redispatch_step: what the keeper and people do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.errors import RunNotFound
from orchestrator.records import Order, StepError
from orchestrator.states import RunState, StepState
from orchestrator.store.runs import Lease, RunStore
from orchestrator.store.timers import Timers
from orchestrator.workflow.segments import dispatch_table
from tests.factories import foreach, plan, task
from tests.waiting import wait_until

ERROR = StepError("WorkerLost", "gone")


def test_a_lapsed_lease_offers_the_step_again(store: RunStore, timers: Timers, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    store.claim_step(run_id, "a", worker="w1", lease_ms=1)
    due = wait_until(lambda: timers.take_due(limit=10, hold_ms=5000).timers, what="the lease to lapse", timeout_s=5)
    assert [(timer.kind, timer.run_id, timer.step_id, timer.attempt) for timer in due] == [("lease", run_id, "a", 1)]
    advance = store.lapse_lease(run_id, "a", 1, max_losses=3, error=ERROR)
    assert [step.step_id for step in advance.ready] == ["a"]
    assert store.finish_step(run_id, "a", 1, "1") is None, "the lost worker's answer is too late"
    assert store.claim_step(run_id, "a", worker="w2", lease_ms=1000).attempt == 2


def test_a_lease_that_holds_is_not_taken_away(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    store.claim_step(run_id, "a", worker="w1", lease_ms=60_000)
    assert store.lapse_lease(run_id, "a", 1, max_losses=3, error=ERROR) is None


def test_the_third_loss_fails_the_step(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    for attempt in (1, 2, 3):
        assert store.claim_step(run_id, "a", worker="w", lease_ms=0).attempt == attempt
        wait_until(
            lambda n=attempt: store.lapse_lease(run_id, "a", n, max_losses=3, error=ERROR),
            what="the lease to lapse", timeout_s=5,
        )
    assert store.read_run(run_id).state is RunState.FAILED
    assert store.read_run(run_id).error == ERROR


def test_a_heartbeat_extends_the_lease_of_its_own_worker_only(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    store.claim_step(run_id, "a", worker="w1", lease_ms=1)
    assert store.extend_lease(run_id, "a", worker="w2", lease_ms=60_000) is Lease.LOST
    assert store.extend_lease(run_id, "a", worker="w1", lease_ms=60_000) is Lease.HELD
    assert store.lapse_lease(run_id, "a", 1, max_losses=3, error=ERROR) is None


def test_cancel_stops_everything_at_once_and_tells_the_worker(
    store: RunStore, timers: Timers, create: Callable
) -> None:
    run_id, _ = create(plan(task("a"), task("b"), foreach("f", "a")))
    store.claim_step(run_id, "a", worker="w1", lease_ms=60_000)
    assert store.cancel_run(run_id) is not None
    assert store.cancel_run(run_id) is None
    assert store.read_run(run_id).state is RunState.CANCELLED
    assert {step.state for step in store.read_steps_in_order(run_id)} == {StepState.CANCELLED}
    assert store.claim_step(run_id, "b", worker="w", lease_ms=1) is None
    assert store.finish_step(run_id, "a", 1, "1") is None
    assert store.extend_lease(run_id, "a", worker="w1", lease_ms=1) is Lease.CANCELLED
    due = timers.take_due(limit=10, hold_ms=1)
    assert (due.next_ms, due.unclaimed) == (None, 0), "nothing of the run is left in the indexes"


def test_cancelling_an_unknown_run_is_an_error(store: RunStore) -> None:
    with pytest.raises(RunNotFound):
        store.cancel_run("nobody")


def test_a_step_is_suspect_when_a_later_message_was_claimed(store: RunStore, timers: Timers, create: Callable) -> None:
    first, _ = create(plan(task("a")))
    second, _ = create(plan(task("a")))
    queue = [("writer", "medium", False)]
    assert timers.find_lost(queue, grace_ms=0) == [], "nothing was claimed, so nothing is late"
    store.claim_step(second, "a", worker="w", lease_ms=60_000)
    found = timers.find_lost(queue, grace_ms=0)
    assert [(suspect.run_id, suspect.step_id) for suspect in found] == [(first, "a")]
    assert timers.find_lost(queue, grace_ms=60_000) == [], "too young to call it lost"
    advance = store.redispatch_step(first, "a", found[0].member)
    assert [step.step_id for step in advance.ready] == ["a"]
    assert timers.find_lost(queue, grace_ms=0) == [], "its new message is younger than what was claimed"
    assert store.redispatch_step(first, "a", found[0].member) is None, "the suspicion is out of date"


def test_a_step_sent_again_casts_no_suspicion_on_others(store: RunStore, timers: Timers, create: Callable) -> None:
    first, _ = create(plan(task("a")))
    (suspect,) = wait_until(
        lambda: timers.find_lost([("writer", "medium", True)], grace_ms=0), what="the dispatch to age", timeout_s=5
    )
    create(plan(task("a")))
    store.redispatch_step(first, "a", suspect.member)
    store.claim_step(first, "a", worker="w", lease_ms=60_000)  # perhaps by its first message, which was not lost
    assert timers.find_lost([("writer", "medium", False)], grace_ms=0) == []


def test_a_step_is_suspect_when_its_queue_is_empty(timers: Timers, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    found = wait_until(
        lambda: timers.find_lost([("writer", "medium", True)], grace_ms=0), what="the dispatch to age", timeout_s=5
    )
    assert [suspect.run_id for suspect in found] == [run_id]


def test_the_same_idempotency_key_gives_the_same_run(store: RunStore, create: Callable) -> None:
    first, _ = create(plan(task("a")), idempotency_key="k", idempotency_ttl_ms=60_000)
    order = Order("other", plan(task("a")), {}, dispatch_table, "low", 1, idempotency_key="k", idempotency_ttl_ms=1000)
    again, advance = store.create_run(order)
    assert (again, advance) == (first, None)
    assert [run.id for run in store.list_runs()] == [first]


def test_finished_runs_give_their_plan_back_when_the_last_of_them_ends(store: RunStore, create: Callable) -> None:
    shared = plan(task("a"))
    one, _ = create(shared)
    two, _ = create(shared)
    key = store.keys.plan(shared.hash)
    store.cancel_run(one)
    assert store.client.ttl(key) == -1
    store.cancel_run(two)
    assert store.client.ttl(key) > 0
