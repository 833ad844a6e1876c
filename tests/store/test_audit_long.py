"""The audit: clean after every lawful move, in whatever order; and each kind of damage is named."""

from __future__ import annotations

import itertools

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.agents.submission import launch, order_run
from orchestrator.settings import Settings
from orchestrator.store.audit import auditor
from orchestrator.store.audit.auditor import Auditor, Report
from orchestrator.store.runs import RunStore
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from tests.acceptance.random_graphs import Generated, workflows
from tests.conftest import KEYS
from tests.store.crowd import Crowd

_ids = itertools.count()


@pytest.fixture
def connection(client: redis.Redis) -> redis.Redis:
    return client


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves while these tests look."""
    monkeypatch.setattr(auditor, "_SECOND_LOOK_S", 0)


def audit(client: redis.Redis, *ledgers: object) -> Report:
    return Auditor(client, KEYS, retention_ms=60_000, message_retention_ms=60_000).audit(ledgers)


def told(client: redis.Redis, *ledgers: object) -> list[str]:
    """The findings as `about id: problem`."""
    return [f"{one.about} {one.id}: {one.problem}" for one in audit(client, *ledgers).findings]


@settings(
    max_examples=150, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)  # fmt: skip
@given(generated=workflows(max_steps=25), seed=st.integers(0, 2**32), calls=st.integers(0, 250))
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
