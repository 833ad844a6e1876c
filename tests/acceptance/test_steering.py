"""Steering a run: cancel, pause and resume, signals, and running it again."""

from __future__ import annotations

import time

import pytest

from orchestrator import RunState, StepState, WorkflowInvalid
from orchestrator.errors import RunNotOver, RunOver, StepNotWaiting, UnknownStep
from tests.acceptance.team import Team, output, states
from tests.waiting import wait_until

DONE, FAILED, CANCELLED, WAITING = StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.WAITING


def test_cancel_stops_what_waits_sleeps_and_retries_within_a_second(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - {{id: runs, needs: [], agent: hand, task: hold, with: {{until: "{gate}"}}}}
          - {{id: sleeps, needs: [], wait: {{for: 1h}}}}
          - {{id: asks, needs: [], wait: {{signal: go}}}}
          - {{id: retries, needs: [], agent: many, task: fail, retry: {{max_attempts: 9, delay: 1h}}}}
          - {{id: queued, needs: [], agent: ear, task: draft, with: {{topic: x, context: {{}}}}}}
          - {{id: next, needs: [sleeps], agent: hand, task: echo}}
        """
    )
    crew.wait_for_start(run, "runs")
    crew.wait_for_state(run, "retries", WAITING)
    started = time.monotonic()
    run.cancel()
    assert run.wait(5).state is RunState.CANCELLED
    assert time.monotonic() - started < 1.0
    assert set(states(run).values()) == {CANCELLED}
    gate.touch()


def test_a_paused_run_starts_nothing_and_goes_on_where_it_was(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - {{id: a, agent: hand, task: hold, with: {{until: "{gate}"}}}}
          - {{id: b, agent: hand, task: echo}}
          - {{id: c, set: {{v: 1}}}}
          - {{id: d, agent: hand, task: echo}}
        """
    )
    crew.wait_for_start(run, "a")
    assert run.pause()
    assert not run.pause()
    assert run.status() is RunState.PAUSED
    gate.touch()
    crew.wait_for_state(run, "a", DONE)
    other = crew.run("steps: [{id: x, agent: hand, task: echo}]\n")  # time for `b` to have started, if it did
    assert other.status() is RunState.SUCCEEDED
    assert states(run)["b"] is StepState.PENDING
    assert run.resume()
    assert not run.resume()
    assert run.wait(20).state is RunState.SUCCEEDED
    with pytest.raises(RunOver):
        run.pause()


def test_a_signal_reaches_the_step_that_waits_or_is_kept_until_one_does(crew: Team) -> None:
    run = crew.submit(
        """
        steps:
          - {id: first, wait: {signal: go}}
          - {id: second, wait: {signal: early}}
          - {id: third, wait: {signal: sign, timeout: 1h}}
        """
    )
    assert run.signal("early", {"by": "me"}) == []
    assert run.signal("unheard", 1) == []
    crew.wait_for_state(run, "first", WAITING)
    assert run.signal("go", [1]) == ["first"]
    crew.wait_for_state(run, "third", WAITING)
    with pytest.raises(StepNotWaiting, match="it is succeeded"):
        run.approve("first")
    with pytest.raises(StepNotWaiting, match="no such step"):
        run.reject("nobody")
    run.approve("third")
    assert run.wait(10).state is RunState.SUCCEEDED
    assert [output(run, step) for step in ("first", "second", "third")] == [[1], {"by": "me"}, {"approved": True}]
    assert run.record().signals == ("unheard",)
    assert "run.unused_signals" in [event.name for event in run.events()]
    with pytest.raises(RunOver):
        run.signal("go")


def test_a_rejected_step_and_one_whose_signal_does_not_come_fail_or_go_on(crew: Team) -> None:
    run = crew.submit(
        """
        steps:
          - {id: sign, wait: {signal: sign}, on_error: continue}
          - {id: late, wait: {signal: late, timeout: 50ms}, on_error: continue}
          - {id: soft, wait: {signal: soft, timeout: 50ms, on_timeout: continue}}
        """
    )
    crew.wait_for_state(run, "sign", WAITING)
    run.reject("sign", "not like this")
    assert run.wait(20).state is RunState.SUCCEEDED
    sign, late, soft = run.steps()
    assert sign.error
    assert (sign.error.type, sign.error.message) == ("Rejected", "not like this")
    assert late.error
    assert late.error.type == "SignalTimeout"
    assert (soft.state, output(run, "soft")) == (DONE, None)


PAID = """
steps:
  - {id: a, agent: hand, task: echo, with: {value: 1}}
  - id: each
    foreach: [1, 2, 3]
    max_parallel: 1
    agent: hand
    task: appears
    with: {path: "%s", value: "${{ item }}"}
  - {id: z, agent: hand, task: echo, with: {value: "${{ steps.each.output }}"}}
outputs: {all: "${{ steps.z.output }}"}
"""


def test_a_rerun_pays_for_nothing_twice(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.run(PAID % gate)
    assert run.status() is RunState.FAILED
    plan = run.plan_rerun()
    assert (plan.reused, plan.runs, plan.items) == (("a",), ("each", "z"), {"each": 1})
    gate.touch()
    again = run.rerun()
    assert again.result(20) == {"all": [1, 2, 3]}
    assert [note["step"] for note in crew.journal(again)] == ["each[1]", "each[2]", "z"]
    assert again.record().rerun_of == run.id
    assert again.steps()[0].reused


def test_a_rerun_from_a_step_runs_what_comes_after_it_and_a_patch_counts_instead(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: echo, with: {value: 1}}
          - {id: b, agent: hand, task: echo, with: {value: "${{ steps.a.output + 1 }}"}}
          - {id: c, needs: [a], agent: hand, task: echo, with: {value: 9}}
          - {id: d, needs: [b, c], agent: hand, task: echo, with: {value: "${{ steps.b.output + steps.c.output }}"}}
        outputs: {d: "${{ steps.d.output }}"}
        """
    )
    assert run.result(1) == {"d": 11}
    plan = run.plan_rerun(from_step="b")
    assert (plan.reused, plan.runs) == (("a", "c"), ("b", "d"))
    again = run.rerun(patch={"b": 100})
    assert again.result(20) == {"d": 109}
    assert [note["step"] for note in crew.journal(again)] == ["d"]
    with pytest.raises(UnknownStep, match="did you mean"):
        run.plan_rerun(from_step="dd")


def test_a_rerun_on_another_definition_runs_what_that_changes(crew: Team) -> None:
    text = """
        inputs: {n: {type: integer, default: 2}}
        steps:
          - {id: a, agent: hand, task: echo, with: {value: "${{ inputs.n }}"}}
          - {id: b, agent: hand, task: %s}
        """
    run = crew.run(text % "fail", {"n": 5})
    mended = crew.write(text % "echo, with: {value: '${{ steps.a.output }}'}")
    again = run.rerun(definition=mended)
    again.result(20)
    assert [note["step"] for note in crew.journal(again)] == ["b"]
    assert output(again, "b") == 5
    other = crew.write("inputs: {other: {type: string}}\nsteps: [{id: a, agent: hand, task: echo}]\n")
    with pytest.raises(WorkflowInvalid, match="other"):
        run.plan_rerun(definition=other)
    waits = crew.submit("steps: [{id: w, wait: {signal: x}}]\n")
    with pytest.raises(RunNotOver):
        waits.plan_rerun()
    waits.cancel()


def test_items_are_reused_by_what_they_are_when_the_list_changes(crew: Team) -> None:
    gate = crew.new_file()
    text = f"""
        steps:
          - {{id: each, foreach: %s, max_parallel: 1, agent: hand, task: appears,
             with: {{path: "{gate}", value: "${{{{ item }}}}"}}}}
        """
    run = crew.run(text % "[1, 2]")
    gate.touch()
    again = run.rerun(definition=crew.write(text % "[1, 3]"))
    assert again.wait(20).state is RunState.SUCCEEDED
    assert [note["step"] for note in crew.journal(again)] == ["each[1]"]
    last = run.rerun(definition=crew.write(text % "[5, 1]"))
    assert last.wait(20).state is RunState.SUCCEEDED
    assert [note["step"] for note in crew.journal(last)] == ["each[0]", "each[1]"], "another item in that place"


def test_what_was_undone_runs_again(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.run(
        f"""
        steps:
          - {{id: a, agent: hand, task: echo}}
          - {{id: b, agent: hand, task: echo, compensate: {{agent: hand, task: echo}}}}
          - {{id: c, agent: hand, task: appears, with: {{path: "{gate}"}}}}
        """
    )
    gate.touch()
    assert run.plan_rerun().reused == ("a",)


def test_the_rerun_of_a_child_takes_over_what_that_had_done(crew: Team) -> None:
    gate = crew.new_file()
    (crew.folder / "kid.yaml").write_text(
        f"""
name: kid
steps:
  - {{id: x, agent: hand, task: echo, with: {{value: 7}}}}
  - {{id: y, agent: hand, task: appears, with: {{path: "{gate}", value: "${{{{ steps.x.output }}}}"}}}}
outputs: {{y: "${{{{ steps.y.output }}}}"}}
"""
    )
    run = crew.run("steps: [{id: kid, workflow: kid.yaml}]\noutputs: {y: '${{ steps.kid.output.y }}'}\n")
    gate.touch()
    again = run.rerun()
    assert again.result(20) == {"y": 7}
    child = crew.client.run(wait_until(lambda: again.steps()[0].child, what="the child", timeout_s=5))
    assert [note["step"] for note in crew.journal(child)] == ["y"]
