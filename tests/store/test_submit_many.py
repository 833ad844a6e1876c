"""`Client.submit_many`: what becomes of many runs when one of them is refused, or no answer comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from orchestrator import Client, OutcomeUnknown, RunRefused, Settings, WorkflowInvalid
from orchestrator.store import embedded
from orchestrator.store.connection import SocketConnection
from tests.conftest import KEYS
from tests.store.test_round_trips import agents  # noqa: F401

FLOW = """
name: flow
inputs: {n: {type: integer, default: 0}, text: {type: string, default: ""}}
steps: [{id: a, agent: writer, task: draft}]
"""


@pytest.fixture
def near(client: redis.Redis, server: embedded.EmbeddedServer, agents: str) -> Iterator[Client]:  # noqa: F811
    with Client(Settings(url=server.url, prefix=KEYS.prefix), agents=[agents]) as opened:
        yield opened


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    path = tmp_path / "flow.yaml"
    path.write_text(FLOW)
    return path


def stored(client: redis.Redis) -> set[str]:
    return set(client.zrange(KEYS.runs, 0, -1))


def test_no_inputs_are_no_runs(near: Client, flow: Path) -> None:
    assert near.submit_many(flow, []) == []


def test_every_mistake_of_the_first_wrong_run_is_named_and_nothing_is_stored(
    near: Client, client: redis.Redis, flow: Path
) -> None:
    with pytest.raises(WorkflowInvalid) as caught:
        near.submit_many(flow, [{"n": 1}, {"n": "x", "m": 1}])
    assert [problem.path for problem in caught.value.problems] == ["[1].m", "[1].n"]
    assert stored(client) == set()


def test_a_key_makes_the_same_call_harmless(near: Client, client: redis.Redis, flow: Path) -> None:
    first = near.submit_many(flow, [{"n": n} for n in range(150)], idempotency_key="invoices")
    again = near.submit_many(flow, [{"n": n} for n in range(150)], idempotency_key="invoices")
    assert [run.id for run in again] == [run.id for run in first]
    assert stored(client) == {run.id for run in first}


def test_a_refusal_tells_which_runs_were_started(near: Client, client: redis.Redis, tmp_path: Path) -> None:
    flow = tmp_path / "one.yaml"
    flow.write_text(FLOW + "concurrency: {key: one, max_runs: 2, on_limit: reject}\n")
    with pytest.raises(RunRefused, match=r"no place .*; 2 of 5 runs were started$") as caught:
        near.submit_many(flow, [{}] * 5)
    assert set(caught.value.accepted) == stored(client)
    for run_id in caught.value.accepted:
        near.run(run_id).cancel()  # gives its place back


def test_a_library_that_the_server_has_lost_is_told_again(near: Client, client: redis.Redis, flow: Path) -> None:
    near.submit_many(flow, [{}])
    client.function_flush()
    assert len({run.id for run in near.submit_many(flow, [{}] * 5)}) == 5
    assert len(stored(client)) == 6


def test_large_inputs_go_in_several_packets(
    near: Client, client: redis.Redis, flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = near.compile(flow)
    near.submit(plan)
    sizes, send = [], SocketConnection.send_packed_command

    def note(self: SocketConnection, command: list[bytes], **options: object) -> None:
        sizes.append(sum(map(len, command)))
        send(self, command, **options)

    monkeypatch.setattr(SocketConnection, "send_packed_command", note)
    near.submit_many(plan, [{"text": "x" * 400_000}] * 5)
    assert len(sizes) == 3
    assert max(sizes) < 1 << 20


def test_an_answer_that_is_lost_is_asked_for_again(
    near: Client, client: redis.Redis, flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, read = near.compile(flow), SocketConnection.read_response
    near.submit(plan)
    lost = [True, *[False] * 9]

    def lose(self: SocketConnection, *args: object, **options: object) -> object:
        answer = read(self, *args, **options)
        if lost and lost.pop():
            raise redis.ConnectionError("cut")
        return answer

    monkeypatch.setattr(SocketConnection, "read_response", lose)
    runs = near.submit_many(plan, [{}] * 20)
    assert not lost
    assert len(stored(client)) == 1 + len({run.id for run in runs}) == 21


def test_a_server_that_never_answers_leaves_the_outcome_unknown(
    near: Client, flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = near.compile(flow)
    near.submit(plan)

    def cut(self: SocketConnection, *args: object, **options: object) -> object:
        raise redis.ConnectionError("cut")

    monkeypatch.setattr(SocketConnection, "read_response", cut)
    near.settings = near.settings.model_copy(update={"deadline_s": 0.3})
    with pytest.raises(OutcomeUnknown, match=r"0 of 3 runs were started$") as caught:
        near.submit_many(plan, [{}] * 3)
    assert caught.value.accepted == []
