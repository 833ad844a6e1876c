"""Random walks over the scripts: whatever is called in whatever order, only the lawful moves happen, and a run that is
worked off to the end accounts for every step."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.agents.submission import launch, order_run
from orchestrator.records import Order
from orchestrator.settings import Settings
from orchestrator.states import RUN_TRANSITIONS, TRANSITIONS, RunState, StepState
from orchestrator.store.runs import RunStore
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from orchestrator.workflow.plan import PlanStep
from orchestrator.workflow.segments import dispatch_table
from tests.acceptance.random_graphs import AGENTS, Generated, workflows
from tests.conftest import KEYS
from tests.factories import foreach, plan, task
from tests.store.crowd import ERROR, Crowd

RUN_IFS = ("none_failed", "all_success", "any_success", "all_done")


@st.composite
def graphs(draw: st.DrawFn) -> list[PlanStep]:
    steps: list[PlanStep] = []
    for at in range(draw(st.integers(1, 8))):
        known = [step.id for step in steps]
        needs = draw(st.lists(st.sampled_from(known), unique=True, max_size=3)) if known else []
        make = foreach if draw(st.integers(0, 4)) == 0 else task
        fields = {
            "on_error": draw(st.sampled_from(["fail", "continue", "continue"])),
            "run_if": draw(st.sampled_from(RUN_IFS)) if needs else "none_failed",
            "when": draw(st.sampled_from([None, None, "${{ true }}"])) if make is task else None,
        }
        if make is foreach:
            fields |= {"max_parallel": draw(st.sampled_from([None, 1, 2]))}
            fields |= {"on_item_error": draw(st.sampled_from(["fail", "collect", "skip"]))}
        steps.append(make(f"s{at}", *needs, **fields))
    return steps


class Walker:
    """Calls transitions at random and checks every move against the law."""

    def __init__(self, store: RunStore, run_id: str, steps: list[PlanStep], seed: int) -> None:
        self.store, self.run_id, self.random = store, run_id, random.Random(seed)
        self.steps = {step.id: step for step in steps}
        self.seen: dict[str, StepState] = {}
        self.run_seen = RunState.PENDING

    def check(self) -> None:
        for step_id, step in self.store.read_steps(self.run_id).items():
            before = self.seen.get(step_id, StepState.PENDING)
            assert step.state == before or step.state in TRANSITIONS[before], f"{step_id}: {before} -> {step.state}"
            self.seen[step_id] = step.state
        state = self.store.read_run(self.run_id).state
        lawful = {self.run_seen} | RUN_TRANSITIONS[self.run_seen]
        if self.run_seen is RunState.PENDING:  # one script may start a run and end it
            lawful |= RUN_TRANSITIONS[RunState.RUNNING]
        assert state in lawful, f"{self.run_seen} -> {state}"
        self.run_seen = state

    def anything(self) -> None:
        """One call that may or may not make sense."""
        store, run_id = self.store, self.run_id
        step_id = self.random.choice([*self.steps, *self.seen])
        attempt = self.random.randint(0, 3)
        calls: list[Callable[[], object]] = [
            lambda: store.claim_step(run_id, step_id, worker="w", lease_ms=0),
            lambda: store.finish_step(run_id, step_id, attempt, "1"),
            lambda: store.fail_step(run_id, step_id, attempt, ERROR, retry_delay_ms=self.random.choice([None, 0])),
            lambda: store.lapse_lease(run_id, step_id, attempt, max_losses=2, error=ERROR),
            lambda: store.wake_step(run_id, step_id, attempt),
            lambda: store.extend_lease(run_id, step_id, worker="w", lease_ms=0),
        ]
        self.random.choice(calls)()

    def work_off(self) -> None:
        """Do what is possible until the run is over, as the keeper and the workers would."""
        for _ in range(60):
            if self.store.read_run(self.run_id).state.terminal:
                return
            for step_id, step in list(self.store.read_steps(self.run_id).items()):
                self.advance(step_id, step.state, step.attempts, step.items)
                self.check()
        raise AssertionError(f"the run does not end: {self.store.read_steps(self.run_id)}")

    def advance(self, step_id: str, state: StepState, attempts: int, items: int | None) -> None:
        store, run_id = self.store, self.run_id
        base = self.steps[step_id.partition("[")[0]]
        if state is StepState.WAITING:
            store.wake_step(run_id, step_id, attempts)
        elif state is StepState.RUNNING and items is not None:
            if store.load_step(run_id, step_id)[1].get("failure"):
                store.fail_step(run_id, step_id, 0, ERROR, retry_delay_ms=None)
            elif all(
                store.read_steps(run_id)[f"{step_id}[{i}]"].state.terminal
                for i in range(items)
                if f"{step_id}[{i}]" in store.read_steps(run_id)
            ):
                store.finish_step(run_id, step_id, 0, "[]")
        elif state is StepState.RUNNING:
            store.finish_step(run_id, step_id, attempts, "1")
        elif state is StepState.PENDING and base.kind == "foreach" and "[" not in step_id:
            store.open_foreach(run_id, step_id, ["1", "2"], base.foreach.max_parallel)
        elif state is StepState.PENDING:
            if base.when:
                self.random.choice(
                    [
                        lambda: store.admit_step(run_id, step_id),
                        lambda: store.skip_step(run_id, step_id, "no"),
                    ]
                )()
            store.claim_step(run_id, step_id, worker="w", lease_ms=60_000)


_ids = itertools.count()


@pytest.fixture
def connection(client: redis.Redis) -> redis.Redis:
    return client


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=graphs(), seed=st.integers(0, 2**32), calls=st.integers(0, 40))
def test_only_lawful_moves_happen(connection: redis.Redis, steps: list[PlanStep], seed: int, calls: int) -> None:
    store = RunStore(connection, KEYS)
    run_id, made = f"walk{next(_ids)}", plan(*steps)
    store.create_run(Order(run_id, made, {}, dispatch_table, priority="low", retention_ms=60_000))
    walker = Walker(store, run_id, steps, seed)
    for _ in range(calls):
        walker.anything()
        walker.check()
    walker.work_off()
    assert connection.zrange(KEYS.timers, 0, -1) == [], "timers are left behind"
    assert connection.zcard(KEYS.ready) == 0, "dispatches are left behind"
    assert connection.hget(KEYS.queues, "running writer") in (None, "0")
    assert connection.hget(KEYS.run(run_id), "active") == "0"
    assert all(step.state.terminal for step in store.read_steps_in_order(run_id))


@settings(
    max_examples=25, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)  # fmt: skip
@given(generated=workflows(max_steps=25), seed=st.integers(0, 2**32), calls=st.integers(0, 150))
def test_a_generated_workflow_moves_lawfully_and_ends(
    connection: redis.Redis, tmp_path_factory: pytest.TempPathFactory, generated: Generated, seed: int, calls: int
) -> None:
    file = generated.write(tmp_path_factory.mktemp("walk"))
    store = RunStore(connection, KEYS)
    crowd = Crowd(store, seed)
    run_id = f"walk{next(_ids)}"
    crowd.take(launch(store, order_run(compile_workflow(load_workflow(file)), {}, Settings(), run_id=run_id))[1])
    for _ in range(calls):
        crowd.anything()
    crowd.work_off(run_id)
    assert connection.zrange(KEYS.timers, 0, -1) == [], "timers are left behind"
    assert connection.zcard(KEYS.ready) == 0, "dispatches are left behind"
    assert {connection.hget(KEYS.queues, f"running {agent}") for agent in AGENTS} <= {None, "0"}
    assert not [key for key in connection.scan_iter(KEYS.limit("*")) if connection.ttl(key) < 0], (
        "places are left behind"
    )
    for run in crowd.runs:
        assert connection.hget(KEYS.run(run), "active") == "0"
        assert all(step.state.terminal for step in store.read_steps_in_order(run))
