"""A process that goes on with the next step or message by itself: killed, told to stop, and seen from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import RunState, StepState
from orchestrator.runtime.app import make_app
from tests.acceptance.broker import ON_RABBITMQ
from tests.acceptance.team import Team, attempts, states, team
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(ON_RABBITMQ, reason="there each step goes through the consumer")
LEASE_S = 30.0  # long: what is found sooner was not found by it


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("bursts"), lease_s=LEASE_S) as made:
        made.start_worker("hand", concurrency=1)
        yield made


def test_a_process_that_dies_in_a_step_it_took_gives_that_back_at_once(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: echo}
          - {id: b, agent: hand, task: die, with: {times: 1}}
          - {id: c, agent: hand, task: echo}
        """,
        timeout_s=LEASE_S / 2,
    )
    assert run.status() is RunState.SUCCEEDED
    assert attempts(run) == {"a": 1, "b": 2, "c": 1}
    pids = {step: [note["pid"] for note in crew.journal(run, step)] for step in "abc"}
    assert pids["a"] == pids["b"][:1], "the process went on with b"
    assert pids["b"][1:] == pids["c"], "and so did the next one with c"


def test_a_step_that_was_taken_is_interrupted_when_its_run_is_cancelled(crew: Team) -> None:
    with team(crew.folder / "cancel", lease_s=3.0) as short:
        short.start_worker("hand", concurrency=1)
        run = short.submit(
            f"""
            steps:
              - {{id: a, agent: hand, task: echo}}
              - {{id: b, agent: hand, task: hold, with: {{until: "{short.new_file()}"}}}}
            """
        )
        note = short.wait_for_start(run, "b")
        assert note["pid"] == short.journal(run, "a")[0]["pid"]
        run.cancel()
        wait_until(lambda: short.journal(run, "b", "end"), what="the end of the handler", timeout_s=10)
        assert states(run)["b"] is StepState.CANCELLED
        assert short.run("steps: [{id: a, agent: hand, task: echo}]").status() is RunState.SUCCEEDED


def test_flower_hears_of_each_step_with_its_parent_and_root(crew: Team) -> None:
    heard: dict[str, dict[str, Any]] = {}

    def note(event: dict[str, Any]) -> None:
        if event["type"].startswith("task-"):
            heard.setdefault(event["uuid"], {}).update(event)

    with make_app(crew.settings) as app, app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": note})
        listener = threading.Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
        listener.start()
        wait_until(lambda: crew.redis.pubsub_numpat() > 0, what="a listener", timeout_s=10)
        run = crew.run("steps: [{id: a, agent: hand, task: echo}, {id: b, agent: hand, task: echo}]")
        ids = [f"{run.id}:{step}" for step in "ab"]
        wait_until(
            lambda: all(heard.get(one, {}).get("type") == "task-succeeded" for one in ids), what="events", timeout_s=10
        )
        receiver.should_stop = True
        listener.join(10)
    second = heard[ids[1]]
    assert (second["name"], second["args"]) == ("hand.echo", repr((run.id, "b")))
    assert (second["parent_id"], second["root_id"]) == (ids[0], ids[0])
    assert 0 <= second["runtime"] < 5


def test_a_process_that_dies_with_a_message_it_took_gives_that_back_at_once(crew: Team) -> None:
    crew.start_worker("echoer", concurrency=1)
    door = crew.new_file()
    crew.client.send("echoer", f"hold {door}")
    wait_until(lambda: crew.heard(f"hold {door}"), what="the first message", timeout_s=10)
    doomed = crew.client.send("echoer", "die once")
    door.touch()
    wait_until(lambda: crew.client.message(doomed.message_id).state == "acknowledged", what="it", timeout_s=LEASE_S / 2)
    assert len(crew.heard("die once")) == 2
