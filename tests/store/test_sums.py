"""count_journal: the journal is counted once, whoever counts, and what is missing is said."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.agents.submission import launch, order_run
from orchestrator.records import StepError
from orchestrator.settings import Settings
from orchestrator.store import sums as sums_module
from orchestrator.store.connection import server_now_ms
from orchestrator.store.journal import Journal
from orchestrator.store.runs import RunStore
from orchestrator.store.sums import BOUNDS_MS, Spread, Sums, parse_sums
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from tests.acceptance.random_graphs import Generated, workflows
from tests.conftest import KEYS
from tests.factories import foreach, plan, task
from tests.store.crowd import Crowd
from tests.store.test_messages import do_what_is_due, end, send, take  # noqa: F401
from tests.waiting import wait_until

ERROR = StepError("ValueError", "no luck")
Create = Callable[..., tuple[str, Any]]


class Tally:
    """Counts, and looks at what was counted."""

    def __init__(self, client: redis.Redis) -> None:
        self.client: Any = client
        self.sums = Sums(client, KEYS)

    def count(self, **options: Any) -> int:
        return self.sums.count(**options)

    def of(self, family: str, *labels: str) -> int | Spread | None:
        """The sum of one series; None: there is none."""
        found = {(one.family, one.labels): one.value for one in parse_sums(self.client.hgetall(KEYS.sums))}
        return found.get((family, labels))

    def all(self, family: str) -> dict[tuple[str, ...], int | Spread]:
        return {one.labels: one.value for one in parse_sums(self.client.hgetall(KEYS.sums)) if one.family == family}

    def everything(self) -> dict[str, str]:
        return dict(self.client.hgetall(KEYS.sums))


@pytest.fixture
def tally(client: redis.Redis) -> Tally:
    return Tally(client)


def claim(store: RunStore, run_id: str, step_id: str, lease_ms: int = 60_000) -> int:
    found = store.claim_step(run_id, step_id, worker="w", lease_ms=lease_ms)
    assert found is not None
    return found.attempt


def work_off(store: RunStore, run_id: str, *steps: str) -> None:
    for step_id in steps:
        store.finish_step(run_id, step_id, claim(store, run_id, step_id), "1")


def pass_time(client: redis.Redis, ms: int) -> None:
    """Wait until the server's clock is so much further."""
    till = server_now_ms(client) + ms
    wait_until(lambda: server_now_ms(client) >= till, what="the time to pass", timeout_s=10)


# --- runs and steps -------------------------------------------------------------------------------------------------


def test_a_run_and_its_steps_are_counted_with_their_durations(store: RunStore, create: Create, tally: Tally) -> None:
    run_id, _ = create(plan(task("a"), task("b", "a", agent="critic", task="score")), priority="high")
    work_off(store, run_id, "a", "b")
    assert tally.count() == 0
    assert tally.of("runs_created_total", "test") == 1
    assert tally.of("runs_finished_total", "test", "succeeded") == 1
    assert tally.of("runs", "test", "running") is None
    assert tally.of("steps_finished_total", "test", "succeeded") == 2
    assert tally.all("attempts_total") == {("writer", "draft", "succeeded"): 1, ("critic", "score", "succeeded"): 1}
    for family, labels in (
        ("run_duration_seconds", ("test",)),
        ("attempt_duration_seconds", ("critic", "score")),
        ("step_queue_wait_seconds", ("critic", "high")),
    ):
        spread = tally.of(family, *labels)
        assert isinstance(spread, Spread)
        assert sum(spread.counts.values()) == 1, family
        assert set(spread.counts) <= set(BOUNDS_MS[family])


def test_durations_fall_under_the_right_bound(
    store: RunStore, create: Create, tally: Tally, client: redis.Redis
) -> None:
    run_id, _ = create(plan(task("a")))
    pass_time(client, 30)
    attempt = claim(store, run_id, "a")
    tally.count()
    pass_time(client, 120)
    store.finish_step(run_id, "a", attempt, "1")
    tally.count()
    wait = tally.of("step_queue_wait_seconds", "writer", "medium")
    took = tally.of("attempt_duration_seconds", "writer", "draft")
    assert isinstance(wait, Spread)
    assert isinstance(took, Spread)
    assert 30 <= wait.total_ms < 120 <= took.total_ms
    for spread in (wait, took):
        (bound,) = spread.counts
        lower = max((known for known in BOUNDS_MS["attempt_duration_seconds"] if known < bound), default=0)
        assert lower < spread.total_ms <= bound


def test_each_end_of_an_attempt_has_its_name(store: RunStore, create: Create, tally: Tally) -> None:
    run_id, _ = create(plan(task("a"), task("b"), task("c"), task("d")))
    store.fail_step(run_id, "a", claim(store, run_id, "a"), ERROR, retry_delay_ms=0)
    store.wake_step(run_id, "a", 1)
    claim(store, run_id, "c")
    lost = claim(store, run_id, "b", lease_ms=0)
    store.lapse_lease(run_id, "b", lost, max_losses=1, error=ERROR)  # also the last: the step fails
    tally.count()
    assert tally.of("runs", "test", "running") == 1
    store.cancel_run(run_id, at_once=True)
    tally.count()
    assert tally.all("attempts_total") == {
        ("writer", "draft", "retried"): 1, ("writer", "draft", "lost"): 1, ("writer", "draft", "cancelled"): 1,
    }  # fmt: skip
    assert tally.of("retries_total", "step", "writer") == 1
    assert tally.of("leases_lapsed_total", "step", "writer") == 1
    finished = tally.all("steps_finished_total")
    assert finished["test", "failed"] == 1
    assert finished["test", "cancelled"] == 3
    assert tally.all("runs") == {}


def test_a_handoff_counts_for_whoever_has_the_step(store: RunStore, create: Create, tally: Tally) -> None:
    run_id, _ = create(plan(task("a")))
    held = store.claim_step(run_id, "a", worker="w", lease_ms=60_000)
    assert held is not None
    store.hand_step(held, task("a", agent="editor", task="polish"), {})
    work_off(store, run_id, "a")
    tally.count()
    assert tally.all("attempts_total") == {
        ("writer", "draft", "handed_off"): 1, ("editor", "polish", "succeeded"): 1,
    }  # fmt: skip


def test_items_count_for_the_task_of_the_whole(store: RunStore, create: Create, tally: Tally) -> None:
    run_id, _ = create(plan(foreach("each", items=(1, 2, 3))))
    store.open_foreach(run_id, "each", ["1", "2", "3"], None)
    work_off(store, run_id, "each[0]", "each[1]", "each[2]")
    tally.count()
    assert tally.all("attempts_total") == {("writer", "draft", "succeeded"): 3}


def test_runs_that_are_not_over_are_counted_by_state(store: RunStore, create: Create, tally: Tally) -> None:
    ids = [create(plan(task("a")))[0] for _ in range(4)]
    for run_id in ids[1:]:
        claim(store, run_id, "a")
    store.pause_run(ids[2])
    store.pause_run(ids[3])
    tally.count()
    assert tally.all("runs") == {("test", "pending"): 1, ("test", "running"): 1, ("test", "paused"): 2}
    store.pause_run(ids[3], pause=False)
    store.pause_run(ids[0])
    store.pause_run(ids[0], pause=False)
    tally.count()
    assert tally.all("runs") == {("test", "pending"): 1, ("test", "running"): 2, ("test", "paused"): 1}
    for run_id in ids:
        store.cancel_run(run_id, at_once=True)
    tally.count()
    assert tally.all("runs") == {}
    assert tally.client.hlen(KEYS.open_runs) == 0, "nothing is kept of runs that are over"


# --- messages -------------------------------------------------------------------------------------------------------


def test_messages_are_counted_by_what_became_of_them(
    office: Any,
    send: Any,  # noqa: F811
    tally: Tally,
    client: redis.Redis,
) -> None:
    for _ in range(4):
        send(priority="high")
    end(office, take(office))
    end(office, take(office), "failed", error=ERROR)
    end(office, take(office), "pending", delay_ms=60_000, error=ERROR)
    take(office, lease_ms=1)
    pass_time(client, 2)
    do_what_is_due(client, office)
    tally.count()
    assert tally.of("messages_sent_total", "ada", "high") == 4
    assert tally.of("messages_delivered_total", "ada") == 4
    assert tally.all("messages_finished_total") == {("ada", "acknowledged"): 1, ("ada", "failed"): 1}
    assert tally.of("retries_total", "message", "ada") == 1
    assert tally.of("leases_lapsed_total", "message", "ada") == 1
    waited = tally.of("message_queue_wait_seconds", "ada", "high")
    took = tally.of("message_duration_seconds", "ada")
    assert isinstance(waited, Spread)
    assert isinstance(took, Spread)
    assert sum(waited.counts.values()) == sum(took.counts.values()) == 2


def test_handoffs_are_counted_by_state(office: Any, tally: Tally) -> None:
    office.handoff("ada", "review", {"text": "x"}, sender="bob")
    end(office, take(office))
    tally.count()
    states = {labels[1]: count for labels, count in tally.all("handoffs_total").items()}
    assert states == dict.fromkeys(("offered", "accepted", "started", "completed"), 1)


# --- exactly once ---------------------------------------------------------------------------------------------------


def test_in_small_batches_by_several_hands_the_sums_are_the_same(
    store: RunStore, create: Create, tally: Tally, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        run_id, _ = create(plan(task("a"), task("b", "a")))
        work_off(store, run_id, "a", "b")
    tally.count()
    wanted = tally.everything()
    client.delete(KEYS.sums, KEYS.open_runs)
    monkeypatch.setattr(sums_module, "BATCH", 1)
    hands = itertools.cycle([Tally(client) for _ in range(3)])
    written = client.xlen(KEYS.journal)
    for left in reversed(range(written)):
        assert next(hands).count(batches=1) == left
    assert tally.everything() == wanted
    assert tally.count() == 0
    assert tally.everything() == wanted, "nothing is counted twice"


def test_what_was_trimmed_before_it_was_counted_is_missed_to_the_entry(
    store: RunStore, create: Create, tally: Tally, client: redis.Redis
) -> None:
    done, running, new = (create(plan(task("a")))[0] for _ in range(3))
    attempt = claim(store, running, "a")
    claim(store, done, "a")
    tally.count()
    assert tally.all("runs") == {("test", "pending"): 1, ("test", "running"): 2}
    store.finish_step(done, "a", 1, "1")
    claim(store, new, "a")
    before = client.xlen(KEYS.journal)
    client.xtrim(KEYS.journal, maxlen=0, approximate=False)
    last = create(plan(task("a")))[0]
    tally.count()
    counted = tally.of("journal_entries_total")
    assert isinstance(counted, int)
    assert tally.of("journal_entries_missed_total") == before + 1 - counted
    assert tally.all("runs") == {("test", "pending"): 1, ("test", "running"): 2}, "looked up again"
    store.finish_step(running, "a", attempt, "1")
    tally.count()
    assert tally.of("attempts_total", "writer", "draft", "succeeded") == 1, "an attempt that was open still is"
    for run_id in (new, last):
        store.cancel_run(run_id, at_once=True)
    tally.count()
    assert tally.all("runs") == {}


def test_counting_begins_with_what_the_journal_has_and_with_the_runs_there_are(
    store: RunStore, create: Create, tally: Tally, client: redis.Redis
) -> None:
    old, _ = create(plan(task("a")))
    claim(store, old, "a")
    client.xtrim(KEYS.journal, maxlen=0, approximate=False)
    create(plan(task("a")))
    tally.count()
    assert tally.of("runs_created_total", "test") == 1
    assert tally.of("journal_entries_missed_total") is None
    assert tally.all("runs") == {("test", "pending"): 1, ("test", "running"): 1}


def test_a_journal_that_begins_anew_is_counted_from_its_beginning(
    create: Create, tally: Tally, client: redis.Redis
) -> None:
    for _ in range(3):
        create(plan(task("a")))
    tally.count()
    client.delete(KEYS.journal)
    assert tally.count() == 0
    create(plan(task("a")))
    assert tally.count() == 0
    assert tally.of("runs_created_total", "test") == 4


def test_an_entry_that_cannot_be_read_is_not_in_the_way(create: Create, tally: Tally, client: redis.Redis) -> None:
    client.xadd(KEYS.journal, {"e": "step.started", "r": "r", "s": "a", "a": "1", "q": "junk"})
    client.xadd(KEYS.journal, {"x": "y"})
    create(plan(task("a")))
    assert tally.count() == 0
    assert tally.of("journal_entries_missed_total") == 1
    assert tally.of("journal_entries_total") == 3
    assert tally.of("runs_created_total", "test") == 1


def test_names_beyond_a_thousand_are_others(tally: Tally, client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in [*range(1010), 0]:
            pipe.xadd(KEYS.journal, {"e": "message.delivered", "m": "m", "to": f"a{number}", "a": "1"})
        pipe.execute()
    tally.count()
    found = tally.all("messages_delivered_total")
    assert len(found) == 1001
    assert found["other",] == 10
    assert found["a0",] == 2


def test_the_keeper_counts_only_while_somebody_asks(create: Create, tally: Tally, client: redis.Redis) -> None:
    create(plan(task("a")))
    assert tally.count(asked_ms=0) == -1
    assert tally.everything() == {}
    tally.count()
    create(plan(task("a")))
    assert tally.count(asked_ms=0) == 0
    assert tally.of("runs_created_total", "test") == 2
    client.delete(KEYS.sums_asked)
    assert tally.count(asked_ms=0) == -1


_ids = itertools.count()


@pytest.fixture
def connection(client: redis.Redis) -> redis.Redis:
    return client


@settings(
    max_examples=15, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)  # fmt: skip
@given(generated=workflows(max_steps=20), seed=st.integers(0, 2**32), calls=st.integers(0, 120))
def test_of_any_walk_the_sums_are_what_the_journal_says(
    connection: redis.Redis, tmp_path_factory: pytest.TempPathFactory, generated: Generated, seed: int, calls: int
) -> None:
    connection.delete(KEYS.journal, KEYS.sums, KEYS.open_runs)
    store, crowd, tally = RunStore(connection, KEYS), Crowd(RunStore(connection, KEYS), seed), Tally(connection)
    compiled = compile_workflow(load_workflow(generated.write(tmp_path_factory.mktemp("walk"))))
    run_id = f"sum{next(_ids)}"
    crowd.take(launch(store, order_run(compiled, {}, Settings(), run_id=run_id))[1])
    for number in range(calls):
        crowd.anything()
        if number % 7 == 0:
            tally.count(batches=1)
    crowd.work_off(run_id)
    tally.count()
    entries = Journal(connection, KEYS).read(count=100_000)
    happened = Counter(entry.name for entry in entries)
    started = Counter(entry.data["agent"] for entry in entries if "wait_ms" in entry.data)
    ended: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for (agent, _, outcome), count in tally.all("attempts_total").items():
        ended[agent] += count  # type: ignore[operator]
        outcomes[outcome] += count  # type: ignore[operator]
    assert ended == started, "every attempt has ended, once"
    for family in ("attempt_duration_seconds", "step_queue_wait_seconds"):
        spreads = tally.all(family).values()
        assert sum(sum(spread.counts.values()) for spread in spreads) == started.total()  # type: ignore[union-attr]
    of_agents = {(entry.data["run"], entry.data["step"]) for entry in entries if "wait_ms" in entry.data}
    retried = [entry for entry in entries if entry.name == "step.retrying"]
    by_agents = [entry for entry in retried if (entry.data["run"], entry.data["step"]) in of_agents]
    assert outcomes["retried"] == len(by_agents), "not the child runs that are started again"
    assert outcomes["lost"] == happened["step.lost"]
    finished = {labels[-1]: count for labels, count in tally.all("steps_finished_total").items()}
    for state in ("succeeded", "failed", "skipped", "cancelled"):
        found = sum(count for labels, count in tally.all("steps_finished_total").items() if labels[-1] == state)  # type: ignore[misc]
        assert found == happened[f"step.{state}"], finished
    assert tally.all("runs") == {}
    assert connection.hlen(KEYS.open_runs) == 0
