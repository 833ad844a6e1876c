"""Submitting and watching from Python, on the embedded server. What names no agent runs without a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import Client, RunFailed, RunState, Settings, StepState

Write = Callable[[str], Path]

DOUBLE = """
name: double
inputs: {n: {type: integer}}
steps:
  - {id: twice, set: {n: "${{ inputs.n * 2 }}"}}
outputs: {n: "${{ steps.twice.output.n }}"}
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client with a state folder of its own: its first use starts a private server."""
    with Client(Settings(home=tmp_path_factory.mktemp("guide") / "state", url=None)) as opened:
        yield opened


def test_submit_returns_a_handle_and_result_waits_for_the_outputs(client: Client, workflow: Write) -> None:
    run = client.submit(workflow(DOUBLE), inputs={"n": 21})
    assert run.result(timeout_s=10) == {"n": 42}
    assert run.status() is RunState.SUCCEEDED


def test_a_handle_shows_steps_events_and_the_whole_document(client: Client, workflow: Write) -> None:
    run = client.submit(workflow(DOUBLE), inputs={"n": 1})
    run.result(timeout_s=10)
    assert [(step.id, step.state) for step in run.steps()] == [("twice", StepState.SUCCEEDED)]
    assert [event.name for event in run.events()] == ["run.created", "run.started", "step.succeeded", "run.succeeded"]
    assert run.document()["steps"]["twice"]["output"] == {"n": 2}


def test_another_process_finds_the_run_by_its_id(client: Client, workflow: Write) -> None:
    run = client.submit(workflow(DOUBLE), inputs={"n": 2})
    assert client.run(run.id).result(timeout_s=10) == {"n": 4}
    assert client.runs(workflow="double", limit=1)[0].id == run.id


def test_an_idempotency_key_makes_a_second_submit_harmless(client: Client, workflow: Write) -> None:
    file = workflow(DOUBLE)
    first = client.submit(file, inputs={"n": 1}, idempotency_key="invoice 7")
    second = client.submit(file, inputs={"n": 1}, idempotency_key="invoice 7")
    assert first.id == second.id


def test_many_runs_of_a_workflow_start_together(client: Client, workflow: Write) -> None:
    runs = client.submit_many(workflow(DOUBLE), [{"n": n} for n in range(250)])
    assert [run.result(timeout_s=10)["n"] for run in runs] == [2 * n for n in range(250)]


def test_a_run_that_waits_for_an_agent_can_be_cancelled(client: Client, workflow: Write) -> None:
    run = client.submit(workflow("{name: waits, steps: [{id: a, agent: greeter, task: greet, with: {name: Ada}}]}"))
    assert run.cancel() is True
    with pytest.raises(RunFailed):
        run.result(timeout_s=10)
    assert run.status() is RunState.CANCELLED
