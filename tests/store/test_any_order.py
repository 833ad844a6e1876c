"""The scripts in any order, by anybody: each attempt counts once, an answer that came too late changes nothing, and the
books of the server agree with the records."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from orchestrator.agents.post import PostOffice
from orchestrator.errors import MessageNotHeld, RunOver
from orchestrator.messages import DeliveryOptions
from orchestrator.records import MessageRecord, Order, StepError, StepRecord
from orchestrator.states import (
    MESSAGE_TRANSITIONS,
    RUN_TRANSITIONS,
    TRANSITIONS,
    HandoffState,
    MessageState,
    RunState,
    StepState,
)
from orchestrator.store.directory import boxes_of
from orchestrator.store.runs import RunStore
from orchestrator.workflow.segments import dispatch_table
from tests.conftest import KEYS
from tests.factories import plan, task

ERROR = StepError("ValueError", "no")
STEPS = ("a", "b", "c", "d")
WORKERS = ("w1", "w2")
ids = itertools.count()
steps, workers, attempts = st.sampled_from(STEPS), st.sampled_from(WORKERS), st.integers(0, 4)


class Steps(RuleBasedStateMachine):
    """One run of four steps: b and c need a, d needs both."""

    store: RunStore

    @initialize()
    def create(self) -> None:
        self.run_id = f"order{next(ids)}"
        made = plan(task("a"), task("b", "a"), task("c", "a", on_error="continue"), task("d", "b", "c"))
        self.store.create_run(Order(self.run_id, made, {}, dispatch_table, priority="low", retention_ms=60_000))
        self.seen: dict[str, StepRecord] = self.store.read_steps(self.run_id)
        self.run_seen = RunState.PENDING
        self.results: dict[str, str] = {}

    @rule(step=steps, worker=workers, lease_ms=st.sampled_from([0, 60_000]))
    def claim(self, step: str, worker: str, lease_ms: int) -> None:
        self.store.claim_step(self.run_id, step, worker=worker, lease_ms=lease_ms)

    @rule(step=steps, attempt=attempts, result=st.integers(0, 99))
    def finish(self, step: str, attempt: int, result: int) -> None:
        counts = self._counts(step, attempt)
        advance = self.store.finish_step(self.run_id, step, attempt, json.dumps(result))
        if counts:
            assert advance is not None
            self.results.setdefault(step, json.dumps(result))

    @rule(step=steps, attempt=attempts, delay_ms=st.sampled_from([None, 0, 60_000]))
    def fail(self, step: str, attempt: int, delay_ms: int | None) -> None:
        self.store.fail_step(self.run_id, step, attempt, ERROR, retry_delay_ms=delay_ms)

    @rule(step=steps, attempt=attempts, dead=st.booleans())
    def lapse(self, step: str, attempt: int, dead: bool) -> None:
        self.store.lapse_lease(self.run_id, step, attempt, max_losses=2, error=ERROR, dead=dead)

    @rule(step=steps, attempt=attempts, worker=workers)
    def extend(self, step: str, attempt: int, worker: str) -> None:
        self.store.extend_lease(self.run_id, step, worker=worker, lease_ms=60_000, attempt=attempt)

    @rule(step=steps, attempt=attempts)
    def wake(self, step: str, attempt: int) -> None:
        self.store.wake_step(self.run_id, step, attempt)

    @rule(pause=st.booleans())
    def pause(self, pause: bool) -> None:
        try:
            self.store.pause_run(self.run_id, pause=pause)
        except RunOver:
            assert self.run_seen.terminal

    @rule(at_once=st.booleans())
    def cancel(self, at_once: bool) -> None:
        self.store.cancel_run(self.run_id, at_once=at_once)

    @rule()
    def end(self) -> None:
        if all(step.state.terminal for step in self.seen.values()):
            self.store.end_run(self.run_id, outputs="{}")

    def _counts(self, step: str, attempt: int) -> bool:
        now = self.seen.get(step)
        return now is not None and now.state is StepState.RUNNING and 0 < attempt == now.attempts

    @invariant()
    def moves_are_lawful(self) -> None:
        for name, step in self.store.read_steps(self.run_id).items():
            before = self.seen.get(name)
            if before is not None:
                assert step.state == before.state or step.state in TRANSITIONS[before.state], name
                assert step.attempts >= before.attempts, name
            self.seen[name] = step
        state = self.store.read_run(self.run_id).state
        lawful = {self.run_seen} | RUN_TRANSITIONS[self.run_seen]
        if self.run_seen is RunState.PENDING:
            lawful |= RUN_TRANSITIONS[RunState.RUNNING]
        assert state in lawful, f"{self.run_seen} -> {state}"
        self.run_seen = state

    @invariant()
    def a_result_is_recorded_once(self) -> None:
        stored = self.store.client.hgetall(KEYS.outputs(self.run_id))
        for step, result in self.results.items():
            assert stored[step] == result, f"the result of {step} has changed"
        assert {step for step in STEPS if step in stored} == set(self.results)

    @invariant()
    def the_books_agree(self) -> None:
        running = [step for step in self.seen.values() if step.state is StepState.RUNNING]
        assert int(self.store.client.hget(KEYS.queues, "running writer") or 0) == len(running)
        if self.run_seen.terminal:
            assert self.store.client.zrange(KEYS.timers, 0, -1) == []

    def teardown(self) -> None:
        self.store.client.flushall()


class Messages(RuleBasedStateMachine):
    """A few messages and handoffs for two agents, and whoever takes, closes, extends and wakes them."""

    office: PostOffice

    @initialize()
    def begin(self) -> None:
        self.ids: list[str] = []
        self.seen: dict[str, MessageRecord] = {}

    @rule(
        urgent=st.booleans(), ack=st.booleans(), ttl_s=st.sampled_from([None, 0.001, 60]),
        delay_s=st.sampled_from([None, 60]), retries=st.integers(0, 1),
    )  # fmt: skip
    def send(self, urgent: bool, ack: bool, ttl_s: float | None, delay_s: float | None, retries: int) -> None:
        options = DeliveryOptions(require_ack=ack, ttl_seconds=ttl_s, max_retries=retries)
        receipt = self.office.send(
            "ada", "hi", sender="bob", priority="urgent" if urgent else "low", delay_s=delay_s, delivery_options=options
        )
        self.ids.append(receipt.message_id)

    @rule(offer_s=st.sampled_from([0.001, 60]))
    def offer(self, offer_s: float) -> None:
        self.ids.append(self.office.handoff("writer", "draft", {}, sender="bob", offer_s=offer_s).message_id)

    @rule(agent=st.sampled_from(["ada", "writer"]), worker=workers, lease_ms=st.sampled_from([0, 1, 60_000]))
    def claim(self, agent: str, worker: str, lease_ms: int) -> None:
        self.office.inbox.claim(boxes_of(agent), receiver=worker, lease_ms=lease_ms)

    @rule(
        at=st.integers(0, 9), worker=workers, attempt=attempts, delay_ms=st.sampled_from([0, 60_000]),
        outcome=st.sampled_from(["acknowledged", "failed", "dead", "pending", "declined"]),
    )  # fmt: skip
    def finish(self, at: int, worker: str, attempt: int, delay_ms: int, outcome: str) -> None:
        record = self._one(at)
        if record is None or (outcome == "declined" and record.handoff is None):
            return
        counts = self._counts(record, worker, attempt, outcome)
        try:
            self.office.inbox.finish(
                record.message.message_id, outcome, receiver=worker, box=record.box, attempt=attempt,
                delay_ms=delay_ms, error=None if outcome == "acknowledged" else ERROR,
            )  # fmt: skip
            assert counts
        except MessageNotHeld:
            assert not counts

    def _counts(self, record: MessageRecord, worker: str, attempt: int, outcome: str) -> bool:
        """Whether this may end the message; or the worker only tells its outcome again, which changes nothing."""
        if outcome == "declined":
            return record.state is MessageState.PENDING and record.handoff is HandoffState.OFFERED
        if record.state is MessageState.DELIVERED and record.worker == worker and attempt in (0, len(record.attempts)):
            return True
        kept: Any = self.office.inbox.client.hget(KEYS.message(record.message.message_id), f"a:{attempt}")
        told = json.loads(kept or "{}")
        return told.get("worker") == worker and "outcome" in told

    @rule(at=st.integers(0, 9), worker=workers, lease_ms=st.sampled_from([1, 60_000]))
    def extend(self, at: int, worker: str, lease_ms: int) -> None:
        if (record := self._one(at)) is not None:
            held = record.state is MessageState.DELIVERED and record.worker == worker
            told = self.office.inbox.extend([record.message.message_id], receiver=worker, lease_ms=lease_ms)
            assert told == int(held)

    @rule(at=st.integers(0, 9), kind=st.sampled_from(["lease", "due", "ttl"]), attempt=attempts, dead=st.booleans())
    def wake(self, at: int, kind: str, attempt: int, dead: bool) -> None:
        record = self._one(at)
        if record is not None:
            self.office.inbox.wake(kind, record.message.message_id, record.box, attempt, error=ERROR, dead=dead)

    @rule(at=st.integers(0, 9))
    def replay(self, at: int) -> None:
        record = self._one(at)
        if record is not None and record.state in (MessageState.DEAD, MessageState.FAILED) and not record.replayed_as:
            self.ids.append(self.office.replay(record.message.message_id).message_id)

    def _one(self, at: int) -> MessageRecord | None:
        return self.office.inbox.read(self.ids[at % len(self.ids)]) if self.ids else None

    @invariant()
    def moves_are_lawful_and_ends_are_final(self) -> None:
        for record in self.office.inbox.read_many(self.ids):
            name = record.message.message_id
            before = self.seen.get(name)
            if before is not None:
                assert record.state == before.state or record.state in MESSAGE_TRANSITIONS[before.state], name
                assert len(record.attempts) >= len(before.attempts)
                if before.state.terminal:
                    assert record.finished_at == before.finished_at
            self.seen[name] = record

    @invariant()
    def the_books_agree(self) -> None:
        client: Any = self.office.inbox.client
        for agent in ("ada", "writer"):
            mine = [record for record in self.seen.values() if record.message.to_agent == agent]
            held = [record for record in mine if record.state is MessageState.DELIVERED]
            assert int(client.hget(KEYS.queues, f"running {agent}") or 0) == len(held)
            offered = {name for box in boxes_of(agent) for name in client.zrange(KEYS.inbox(box), 0, -1)}
            assert offered <= {r.message.message_id for r in mine if r.state is MessageState.PENDING}
        leases = {timer.split()[1] for timer in client.zrange(KEYS.message_timers, 0, -1) if timer.startswith("lease")}
        for record in self.seen.values():
            if record.state.terminal:
                assert record.message.message_id not in leases

    def teardown(self) -> None:
        for key in self.office.inbox.client.scan_iter("t:*"):
            if key not in (KEYS.doors, KEYS.agents, KEYS.presence):
                self.office.inbox.client.delete(key)


ANY_ORDER = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_steps(store: RunStore) -> None:
    Steps.store = store
    run_state_machine_as_test(Steps, settings=ANY_ORDER)


def test_messages(office: PostOffice) -> None:
    Messages.office = office
    run_state_machine_as_test(Messages, settings=ANY_ORDER)


@pytest.fixture(autouse=True)
def _clean(client: redis.Redis) -> redis.Redis:
    return client
