"""Messages that are delivered twice, late or by hand: each step still runs once."""

from __future__ import annotations

from orchestrator import RunHandle, RunState
from orchestrator.records import Ready
from orchestrator.runtime.canvas import dispatch
from orchestrator.workflow.segments import dispatch_table
from tests.acceptance.team import Team, attempts

CHAIN = """
steps:
  - {id: a, agent: solo, task: echo}
  - {id: b, agent: hand, task: echo}
  - {id: c, agent: solo, task: echo}
  - {id: d, agent: many, task: echo}
  - {id: e, agent: solo, task: echo}
"""


def publish(crew: Team, run: RunHandle, *steps: str) -> None:
    """Send the piece of canvas of each step again, as the engine sends it."""
    table = dispatch_table(crew.client.store.read_plan(run.id))
    dispatch(crew.client.app, run.id, [Ready(step, table[step]) for step in steps], priority="medium")


def settle(crew: Team) -> None:
    """Wait until every message sent so far has been taken: these come after them."""
    for agent in ("solo", "hand", "many"):
        after = crew.run(f"steps: [{{id: a, foreach: [1, 2], agent: {agent}, task: echo}}]")
        assert after.status() is RunState.SUCCEEDED


def runs_of(crew: Team, run: RunHandle) -> dict[str, int]:
    counts: dict[str, int] = {}
    for note in crew.journal(run):
        counts[note["step"]] = counts.get(note["step"], 0) + 1
    return counts


def test_a_message_that_is_delivered_again_after_the_step_is_done(crew: Team) -> None:
    run = crew.run(CHAIN)
    publish(crew, run, "a", "b", "e")
    settle(crew)
    assert runs_of(crew, run) == dict.fromkeys("abcde", 1)
    assert attempts(run) == dict.fromkeys("abcde", 1)


def test_a_whole_chain_that_is_delivered_twice(crew: Team) -> None:
    door = crew.new_file()
    blocker = crew.submit(f'steps: [{{id: x, agent: solo, task: hold, with: {{until: "{door}"}}}}]')
    crew.wait_for_start(blocker, "x")
    run = crew.submit(CHAIN)
    publish(crew, run, "a", "a")  # two copies beside the real one, all waiting for the only slot
    door.touch()
    assert run.wait(20).state is RunState.SUCCEEDED
    settle(crew)
    assert runs_of(crew, run) == dict.fromkeys("abcde", 1)
    assert attempts(run) == dict.fromkeys("abcde", 1)


def test_a_message_that_comes_while_the_step_runs(crew: Team) -> None:
    door = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - {{id: a, agent: hand, task: hold, with: {{until: "{door}"}}}}
          - {{id: b, agent: hand, task: echo}}
        """
    )
    crew.wait_for_start(run, "a")
    publish(crew, run, "a", "b", "b")
    settle(crew)
    assert runs_of(crew, run) == {"a": 1}, "b is not due, whatever a message says"
    door.touch()
    assert run.wait(20).state is RunState.SUCCEEDED
    settle(crew)
    assert runs_of(crew, run) == {"a": 1, "b": 1}


def test_a_fan_that_is_delivered_twice_joins_once(crew: Team) -> None:
    door = crew.new_file()
    blocker = crew.submit(f'steps: [{{id: x, agent: solo, task: hold, with: {{until: "{door}"}}}}]')
    crew.wait_for_start(blocker, "x")
    run = crew.submit(
        """
        steps:
          - parallel:
            - {id: a, agent: solo, task: echo}
            - {id: b, agent: solo, task: echo}
            - {id: c, agent: solo, task: echo}
          - {id: join, agent: hand, task: echo}
        """
    )
    publish(crew, run, "a", "b", "c")
    door.touch()
    assert run.wait(20).state is RunState.SUCCEEDED
    settle(crew)
    assert runs_of(crew, run) == dict.fromkeys(("a", "b", "c", "join"), 1)


def test_messages_of_unknown_runs_and_steps_do_no_harm(crew: Team) -> None:
    run = crew.run(CHAIN)
    signature = dispatch_table(crew.client.store.read_plan(run.id))["e"]
    dispatch(crew.client.app, "nosuchrun", [Ready("e", signature)], priority="medium")
    dispatch(crew.client.app, run.id, [Ready("nosuchstep[3]", signature)], priority="medium")
    settle(crew)
    assert runs_of(crew, run) == dict.fromkeys("abcde", 1)
