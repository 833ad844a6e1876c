"""`Client` and `RunHandle` beside live workers: waiting, following, idempotency, listing."""

from __future__ import annotations

import threading
import time

import pytest

from orchestrator import Client, RunNotFound, RunState, Settings, StoreUnavailable, WaitTimeout, WorkflowInvalid
from tests.acceptance.team import Team

ONE = "steps: [{id: a, agent: hand, task: echo, with: {value: 1}}]"


def held(crew: Team) -> str:
    return f"""
    steps:
      - {{id: a, agent: hand, task: hold, with: {{until: "{crew.new_file()}"}}}}
    """


def test_result_and_wait_give_up_in_time_and_the_run_goes_on(crew: Team) -> None:
    run = crew.submit(held(crew))
    for call in (run.result, run.wait):
        began = time.monotonic()
        with pytest.raises(WaitTimeout, match=r"not over after 0\.2 s"):
            call(0.2)
        assert 0.2 <= time.monotonic() - began < 1
    assert not run.status().terminal
    run.cancel()


def test_waiting_gives_up_in_time_however_much_happens_meanwhile(crew: Team) -> None:
    run = crew.submit(
        """
        steps:
          - id: a
            agent: hand
            task: flaky
            with: {times: 1000}
            retry: {max_attempts: 1000, delay: 10ms, backoff: fixed}
        """
    )
    began = time.monotonic()
    with pytest.raises(WaitTimeout):
        run.wait(1)
    assert time.monotonic() - began < 3
    run.cancel()


def test_following_tells_everything_in_order_and_ends_with_the_run(crew: Team) -> None:
    door = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - {{id: a, agent: hand, task: hold, with: {{until: "{door}"}}}}
          - {{id: b, foreach: [1, 2], agent: hand, task: echo}}
        """
    )
    told = []
    for event in run.events(follow=True):
        told.append(event)
        if (event.name, event.step) == ("step.started", "a"):
            door.touch()
    assert told == list(run.events())
    places = [tuple(map(int, event.id.split("-"))) for event in told]
    assert places == sorted(places)
    assert (told[0].name, told[-1].name) == ("run.created", "run.succeeded")
    assert list(run.events(follow=True)) == told, "a finished run is told as it was"


def test_following_ends_when_the_run_is_cancelled(crew: Team) -> None:
    run = crew.submit(held(crew))
    crew.wait_for_start(run, "a")
    threading.Timer(0.2, run.cancel).start()
    assert [event.name for event in run.events(follow=True)][-1] == "run.cancelled"


def test_the_same_idempotency_key_gives_the_same_run(crew: Team) -> None:
    first = crew.submit(ONE, idempotency_key="order 66")
    assert first.result(10) == {}
    again = crew.submit(ONE, idempotency_key="order 66")
    other = crew.submit(ONE, idempotency_key="order 67")
    assert again.id == first.id != other.id
    other.wait(10)
    assert len(crew.journal(first)) == 1


def test_two_submits_at_once_with_one_key_make_one_run(crew: Team) -> None:
    file = crew.write(ONE)
    ids: list[str] = []

    def submit() -> None:
        ids.append(crew.client.submit(file, idempotency_key="race").id)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_the_document_has_the_shape_of_the_contract(crew: Team) -> None:
    run = crew.run(ONE)
    document = run.document()
    assert {"run_id", "workflow", "status", "outputs", "error", "steps"} <= set(document)
    assert (document["run_id"], document["workflow"], document["status"]) == (run.id, "test", "succeeded")
    step = document["steps"]["a"]
    assert {"status", "agent", "attempts", "started_at", "finished_at", "output", "error"} <= set(step)
    assert (step["status"], step["agent"], step["attempts"], step["output"]) == ("succeeded", "hand", 1, 1)
    assert step["started_at"] <= step["finished_at"]


def test_runs_are_listed_newest_first_and_by_status_and_workflow(crew: Team) -> None:
    first, second = crew.run(ONE), crew.run("steps: [{id: a, agent: hand, task: fail}]")
    listed = [run.id for run in crew.client.runs(limit=2)]
    assert listed == [second.id, first.id]
    assert second.id in {run.id for run in crew.client.runs(status="failed")}
    assert first.id not in {run.id for run in crew.client.runs(status="failed")}
    assert crew.client.runs(workflow="nosuch") == []


def test_an_unknown_run_is_an_error_at_the_first_use(crew: Team) -> None:
    run = crew.client.run("nosuchrun")
    for call in (run.status, run.document, run.steps, run.cancel, run.result, lambda: list(run.events())):
        with pytest.raises(RunNotFound, match="nosuchrun"):
            call()


def test_wrong_inputs_are_reported_together(crew: Team) -> None:
    text = """
    inputs: {n: {type: integer}, who: {type: string}}
    steps: [{id: a, agent: hand, task: echo}]
    """
    with pytest.raises(WorkflowInvalid) as invalid:
        crew.submit(text, {"n": "three", "x": 1})
    assert {problem.path for problem in invalid.value.problems} == {"n", "who", "x"}


def test_agents_show_who_is_there_and_what_waits(crew: Team) -> None:
    run = crew.submit(held(crew).replace("agent: hand", "agent: solo"))
    crew.wait_for_start(run, "a")
    queued = crew.submit(ONE.replace("agent: hand", "agent: solo"), priority="high")
    agents = {agent["name"]: agent for agent in crew.client.agents()}
    assert set(agents) == {"hand", "many", "solo"}
    solo = agents["solo"]
    assert (solo["presence"], solo["activity"], solo["running"], len(solo["workers"])) == ("online", "busy", 1, 1)
    assert solo["queue"] == {"emergency": 0, "urgent": 0, "high": 1, "medium": 0, "low": 0}
    assert [agent["name"] for agent in crew.client.agents(capability="lifting")] == ["hand"]
    run.cancel()
    queued.wait(20)


def test_a_server_that_is_not_there_is_an_error_within_the_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"redis://user:\*\*\*@127.0.0.1:1/0"):
        Client(Settings(url="redis://user:sesame@127.0.0.1:1/0"))
    assert time.monotonic() - began < 5


def test_several_clients_see_the_same(crew: Team) -> None:
    run = crew.run(ONE)
    with Client(crew.settings) as other:
        assert other.run(run.id).document() == run.document()
        assert other.run(run.id).status() is RunState.SUCCEEDED
