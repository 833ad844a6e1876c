"""What a file says about its runs as a whole, and limits shared by all workers."""

from __future__ import annotations

import time

import pytest

from orchestrator import RunState, StepState
from orchestrator.errors import RunRefused
from tests.acceptance.team import Team, attempts, names, output, states
from tests.waiting import wait_until

DONE = StepState.SUCCEEDED


def test_runs_with_the_same_key_are_one_run(crew: Team) -> None:
    text = """
        inputs: {n: {type: integer}}
        idempotency: {key: "n-${{ inputs.n }}", ttl: 1h%s}
        steps: [{id: a, agent: hand, task: echo}]
        """
    file = crew.write(text % "")
    first = crew.client.submit(file, {"n": 1})
    assert crew.client.submit(file, {"n": 1}).id == first.id
    assert crew.client.submit(file, {"n": 2}).id != first.id
    file = crew.write(text % ", on_duplicate: reject")
    with pytest.raises(RunRefused, match=first.id):
        crew.client.submit(file, {"n": 1})


SLOTTED = """
inputs: {{key: {{type: string}}}}
concurrency: {{key: "${{{{ inputs.key }}}}", max_runs: 1, on_limit: {on_limit}}}
steps: [{{id: a, agent: many, task: hold, with: {{until: "{gate}"}}}}]
finally: [{{id: clean, agent: many, task: echo}}]
"""


def test_a_run_waits_for_its_place_and_says_for_whom(crew: Team) -> None:
    gate = crew.new_file()
    file = crew.write(SLOTTED.format(gate=gate, on_limit="queue"))
    first = crew.client.submit(file, {"key": "queue"})
    second, third = (crew.client.submit(file, {"key": "queue"}) for _ in range(2))
    other = crew.client.submit(file, {"key": "another"})
    crew.wait_for_start(first, "a")
    crew.wait_for_start(other, "a")
    assert second.record().waits_for == "test:queue"
    assert crew.redis.zrange(crew.client.store.keys.slots("test:queue"), 0, -1) == [first.id]
    assert not crew.journal(second)
    third.cancel()
    assert third.status() is RunState.CANCELLED
    gate.touch()
    assert second.wait(20).state is RunState.SUCCEEDED
    ends = [run.record() for run in (first, second)]
    assert (ends[0].finished_at or 0) <= (ends[1].started_at or 0)


def test_a_run_too_many_is_refused_or_takes_the_place_of_the_oldest(crew: Team) -> None:
    gate = crew.new_file()
    file = crew.write(SLOTTED.format(gate=gate, on_limit="reject"))
    first = crew.client.submit(file, {"key": "reject"})
    with pytest.raises(RunRefused, match=first.id):
        crew.client.submit(file, {"key": "reject"})
    file = crew.write(SLOTTED.format(gate=gate, on_limit="cancel_oldest"))
    first = crew.client.submit(file, {"key": "oldest"})
    crew.wait_for_start(first, "a")
    second = crew.client.submit(file, {"key": "oldest"})
    assert first.wait(10).state is RunState.CANCELLED
    assert states(first)["clean"] is DONE, "it may clean up first"
    gate.touch()
    assert second.wait(20).state is RunState.SUCCEEDED


def test_a_place_is_given_on_when_its_run_is_gone(crew: Team) -> None:
    gate = crew.new_file()
    gate.touch()
    file = crew.write(SLOTTED.format(gate=gate, on_limit="reject"))
    crew.redis.zadd(crew.client.store.keys.slots("test:ghost"), {"a-run-that-is-gone": 1})
    assert crew.client.submit(file, {"key": "ghost"}).wait(20).state is RunState.SUCCEEDED


def test_at_most_so_many_at_once_over_all_workers_and_runs(crew: Team) -> None:
    text = """
        steps:
          - id: each
            foreach: [1, 2, 3, 4, 5, 6]
            agent: %s
            task: linger
            limits: [{key: "%s", max: 2}]
        """
    runs = [crew.submit(text % (agent, "shared-max")) for agent in ("hand", "many")]
    for run in runs:
        assert run.wait(30).state is RunState.SUCCEEDED
    marks = [(note["at_s"], 1) for run in runs for note in crew.journal(run)]
    marks += [(note["at_s"], -1) for run in runs for note in crew.journal(run, what="end")]
    running = most = 0
    for _, change in sorted(marks):
        running += change
        most = max(most, running)
    assert most == 2
    assert crew.redis.scard(crew.client.store.keys.limit("shared-max")) == 0
    assert set(attempts(runs[0]).values()) <= {0, 1}, "waiting for a place is no attempt"


def test_at_most_so_many_starts_in_a_time(crew: Team) -> None:
    run = crew.run(
        """
        inputs: {tenant: {type: string, default: acme}}
        steps:
          - id: each
            foreach: [1, 2, 3, 4, 5]
            agent: many
            task: echo
            limits: [{key: "rate-${{ inputs.tenant }}", rate: 2/400ms}]
        """
    )
    assert run.status() is RunState.SUCCEEDED
    starts = [event.at for event in run.events() if event.name == "step.started" and "[" in (event.step or "")]
    assert len(starts) == 5
    assert all(starts[at + 2] - starts[at] >= 400 for at in range(3)), starts
    assert "step.limited" in names(run)


def test_a_place_is_free_again_when_its_run_is_cancelled(crew: Team) -> None:
    gate = crew.new_file()
    text = "steps: [{id: a, agent: many, task: hold, with: {until: '%s'}, limits: [{key: lock, max: 1}]}]\n"
    first = crew.submit(text % gate)
    crew.wait_for_start(first, "a")
    second = crew.submit(text % gate)
    crew.wait_for_state(second, "a", StepState.WAITING)
    assert "lock" in (second.steps()[0].reason or "")
    third = crew.submit(text % gate)
    crew.wait_for_state(third, "a", StepState.WAITING)
    second.cancel()
    first.cancel()
    crew.wait_for_start(third, "a")
    gate.touch()
    assert third.wait(20).state is RunState.SUCCEEDED


def test_an_output_is_taken_from_the_cache_of_any_run(crew: Team) -> None:
    text = """
        inputs: {n: {type: integer}}
        steps:
          - {id: a, agent: hand, task: echo, with: {value: {n: "${{ inputs.n }}"}},
             cache: {key: "${{ inputs.n }}", ttl: 1h}}
        """
    first, again, other = (crew.run(text, {"n": n}) for n in (70, 70, 71))
    assert output(again, "a") == output(first, "a") == {"n": 70}
    assert [len(crew.journal(run)) for run in (first, again, other)] == [1, 0, 1]


def test_a_fallback_takes_over_when_the_attempts_are_used_up(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: fail, retry: {max_attempts: 2, delay: 1ms}, fallback: {agent: many, task: echo}}
        """
    )
    step = run.steps()[0]
    assert (run.status(), step.hands, step.attempts) == (RunState.SUCCEEDED, ("hand", "many"), 3)
    assert "step.fell_back" in names(run, "a")


def test_a_finished_run_is_kept_as_long_as_the_file_says(crew: Team) -> None:
    run = crew.run("retention: {succeeded: 2m, failed: 5m}\nsteps: [{id: a, set: {}}]\n")
    left = crew.redis.pttl(crew.client.store.keys.run(run.id))
    assert 0 < left <= 120_000
    run = crew.run("retention: {succeeded: 2m, failed: 5m}\nsteps: [{id: a, agent: hand, task: fail}]\n")
    assert 120_000 < crew.redis.pttl(crew.client.store.keys.run(run.id)) <= 300_000


def test_an_output_that_does_not_fit_its_schema_fails_the_step(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: echo, with: {value: {score: "high"}},
             output_schema: {type: object, properties: {score: {type: number}}, required: [score]}}
        """
    )
    error = run.record().error
    assert error
    assert error.type == "HandlerOutputInvalid"
    assert "$.score: 'high' is not of type 'number'" in error.message


def test_urgent_work_overtakes_queued_low_work(crew: Team) -> None:
    gate = crew.new_file()
    first = crew.submit(f"steps: [{{id: a, agent: solo, task: hold, with: {{until: '{gate}'}}}}]\n")
    crew.wait_for_start(first, "a")
    low = [crew.submit("priority: low\nsteps: [{id: a, agent: solo, task: echo}]\n") for _ in range(3)]
    urgent = crew.submit("steps: [{id: a, agent: solo, task: echo, priority: urgent}]\n")
    gate.touch()
    for run in (*low, urgent):
        run.wait(20)
    started = time.monotonic()
    at = [crew.journal(run)[0]["at_s"] for run in (urgent, *low)]
    assert at[0] == min(at), (at, started)


def test_a_wait_until_a_time_holds_no_slot(crew: Team) -> None:
    run = crew.submit("steps: [{id: w, wait: {until: '2099-01-01T00:00:00Z'}}]\n")
    crew.wait_for_state(run, "w", StepState.WAITING)
    assert crew.run("steps: [{id: a, agent: solo, task: echo}]\n").status() is RunState.SUCCEEDED
    run.cancel()
    past = crew.run(
        """
        steps:
          - {id: w, wait: {until: '2001-01-01T00:00:00+01:00'}}
          - {id: x, wait: {for: "${{ '5' + 'ms' }}"}}
        """
    )
    wait_until(lambda: past.status() is RunState.SUCCEEDED, what="the end", timeout_s=5)
