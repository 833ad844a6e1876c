"""`enough` and `end` on real workers: what of the rest is void, what goes on, and how a run ends before all is done."""

from __future__ import annotations

import time
from pathlib import Path

from orchestrator import RunHandle, RunState, StepState
from tests.acceptance.team import Team, attempts, names, output, states, team
from tests.waiting import wait_until

DONE, FAILED, CANCELLED = StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED
PENDING, WAITING, SKIPPED = StepState.PENDING, StepState.WAITING, StepState.SKIPPED


def order(crew: Team, run: RunHandle, what: str = "start") -> list[str]:
    """The steps whose handlers have started, or ended, in order."""
    return [note["step"] for note in crew.journal(run, what=what)]


def child(crew: Team, run: RunHandle, step: str) -> RunHandle:
    """The child run of a step, as soon as there is one."""
    found = wait_until(
        lambda: [record.child for record in run.steps() if record.id == step and record.child],
        what=f"the child run of {step}", timeout_s=10,
    )  # fmt: skip
    return crew.client.run(str(found[0]))


def halted(crew: Team, run: RunHandle, *steps: str) -> None:
    """Wait until the handlers of steps work no more, though nobody has let them go."""
    wait_until(lambda: set(steps) <= set(order(crew, run, "end")), what=f"the end of {', '.join(steps)}", timeout_s=15)


EVERYTHING = """
    steps:
      - id: race
        enough: 1
        parallel:
          - {id: go, wait: {signal: go}}
          - {id: runs, agent: solo, task: hold, with: {until: "GATE"}, limits: [{key: "LIMIT", max: 1}]}
          - steps:
              - {id: then, wait: {signal: then}}
              - parallel:
                  - {id: limited, agent: many, task: echo, limits: [{key: "LIMIT", max: 1}]}
                  - {id: queued, agent: solo, task: echo}
          - {id: thread, agent: many, task: watch}
          - {id: retries, agent: many, task: fail, retry: {max_attempts: 9, delay: 1h}}
          - {id: each, foreach: [1, 2, 3], max_parallel: 2, agent: hand, task: hold, with: {until: "GATE"}}
          - id: bodies
            foreach: [1, 2]
            max_parallel: 1
            steps: [{id: nap, wait: {for: 1h}}, {id: woken, agent: hand, task: echo}]
          - {id: kid, workflow: slow-kid.yaml}
          - {id: kids, foreach: [1, 2], max_parallel: 1, workflow: asking-kid.yaml}
          - id: rounds
            loop: {until: "${{ false }}", max_iterations: 9, delay: 1h}
            steps: [{id: turn, agent: hand, task: echo}]
          - id: round
            loop: {until: "${{ false }}", max_iterations: 9}
            steps: [{id: stuck, agent: many, task: watch}]
          - id: inner
            enough: 1
            parallel:
              - {id: never, wait: {signal: never}}
              - steps: [{id: sleeps, wait: {for: 1h}}, {id: unreached, agent: hand, task: echo}]
          - switch:
              - {when: "${{ true }}", steps: [{id: taken, wait: {for: 1h}}, {id: thereafter, set: {x: 1}}]}
              - {default: true, steps: [{id: untaken, set: {x: 1}}]}
      - {id: after, agent: hand, task: echo, with: {value: "${{ steps.go.output }}"}, limits: [{key: "LIMIT", max: 1}]}
    outputs: {after: "${{ steps.after.output }}", each: "${{ steps.each.output }}", runs: "${{ steps.runs.status }}"}
    """.replace("LIMIT", "one of ${{ run.id }}")


def test_the_rest_is_void_whatever_it_does(crew: Team) -> None:
    gate = crew.new_file()
    text = "name: slow-kid\nsteps: [{id: slow, agent: hand, task: hold, with: {until: '%s'}}]\n"
    (crew.folder / "slow-kid.yaml").write_text(text % gate)
    (crew.folder / "asking-kid.yaml").write_text("name: asking-kid\nsteps: [{id: asks, wait: {signal: x}}]\n")
    run = crew.submit(EVERYTHING.replace("GATE", str(gate)))
    for step in ("runs", "thread", "each[0]", "each[1]", "stuck"):
        crew.wait_for_start(run, step)
    run.signal("then")
    for step in ("limited", "retries", "nap[0]", "rounds", "never", "sleeps", "taken"):
        crew.wait_for_state(run, step, WAITING)
    kid, asking = child(crew, run, "kid"), child(crew, run, "kids[0]")
    crew.wait_for_start(kid, "slow")
    crew.wait_for_state(asking, "asks", WAITING)
    assert states(run)["queued"] is PENDING
    began = len(order(crew, run))

    started = time.monotonic()
    assert run.signal("go", "went") == ["go"]
    assert run.result(10) == {"after": "went", "each": None, "runs": "cancelled"}
    assert kid.wait(5).state is asking.wait(5).state is RunState.CANCELLED
    assert time.monotonic() - started < 1.0

    found = states(run)
    assert {step for step, state in found.items() if state is DONE} == {"go", "then", "after"}
    assert {step for step, state in found.items() if state is SKIPPED} == {"untaken"}
    assert set(found.values()) == {DONE, SKIPPED, CANCELLED}
    halted(crew, run, "runs", "thread", "each[0]", "each[1]", "stuck")
    halted(crew, kid, "slow")
    gate.touch()
    assert crew.run("steps: [{id: next, agent: solo, task: echo}]\n").status() is RunState.SUCCEEDED
    assert order(crew, run)[began:] == ["after"], "nothing of the rest has started since"
    assert states(run) == found
    wait_until(
        lambda: all(int(count) == 0 for name, count in crew.redis.hgetall("o:queues").items() if "running" in name),
        what="nothing to count as running", timeout_s=5,
    )  # fmt: skip


def test_the_answer_of_a_voided_attempt_changes_nothing(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - enough: 1
            parallel:
              - {{id: slow, agent: many, task: hold, with: {{until: "{gate}", value: late}}}}
              - {{id: go, wait: {{signal: go}}}}
          - {{id: on, wait: {{signal: on}}}}
        outputs: {{slow: "${{{{ steps.slow.output }}}}"}}
        """
    )
    crew.wait_for_start(run, "slow")
    run.signal("go")
    crew.wait_for_state(run, "on", WAITING)
    gate.touch()  # its handler is in a thread that nothing interrupts, and returns
    halted(crew, run, "slow")
    assert (states(run)["slow"], attempts(run)["slow"]) == (CANCELLED, 1)
    run.signal("on")
    assert run.result(10) == {"slow": None}
    told = ["step.started", "step.cancelled", "step.superseded"]
    wait_until(lambda: names(run, "slow") == told, what="the late answer to be noted", timeout_s=5)
    assert run.document()["steps"]["slow"]["superseded"][0]["output"] == "late"


def test_enough_of_a_foreach_is_enough(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - id: votes
            foreach: [slow, a, b, slow, c, d]
            enough: 2
            max_parallel: 3
            steps:
              - {{id: wait, when: "${{{{ item == 'slow' }}}}", agent: hand, task: hold, with: {{until: "{gate}"}}}}
              - {{id: vote, agent: hand, task: echo, with: {{value: "${{{{ item }}}}"}}}}
        outputs: {{votes: "${{{{ steps.votes.output }}}}"}}
        """
    )
    assert run.result(15) == {"votes": ["a", "b"]}
    assert (states(run)["votes[0]"], states(run)["vote[0]"]) == (CANCELLED, CANCELLED)
    assert {"c", "d"}.isdisjoint(output(run, "votes"))
    halted(crew, run, *({"wait[0]"} & set(order(crew, run))))
    gate.touch()


def test_what_may_finish_does_and_holds_the_run(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - id: race
            enough: 1
            rest: finish
            parallel:
              - {{id: quick, agent: hand, task: echo, with: {{value: 1}}}}
              - steps:
                  - {{id: slow, agent: solo, task: hold, with: {{until: "{gate}"}}}}
                  - {{id: slower, agent: hand, task: echo, with: {{value: 2}}}}
              - {{id: again, agent: hand, task: flaky, with: {{times: 1}}, retry: {{max_attempts: 2, delay: 50ms}}}}
          - {{id: after, agent: hand, task: echo, with: {{value: "${{{{ steps.quick.output }}}}"}}}}
        outputs: {{after: "${{{{ steps.after.output }}}}", slower: "${{{{ steps.slower.output }}}}"}}
        """
    )
    crew.wait_for_state(run, "after", DONE)
    crew.wait_for_state(run, "again", DONE)
    assert run.status() is RunState.RUNNING, "`slow` still works"
    gate.touch()
    assert run.result(15) == {"after": 1, "slower": 2}
    assert order(crew, run).count("after") == 1, "the others have started nothing"
    assert attempts(run)["again"] == 2


def test_all_items_finish_if_they_may_and_the_step_after_them_does_not_wait(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - id: each
            foreach: [1, 2, 3, 4]
            enough: 1
            rest: finish
            max_parallel: 2
            on_item_error: skip
            agent: hand
            task: appears
            retry: {{max_attempts: 99, delay: 50ms, backoff: fixed}}
            with: {{path: "{gate}", value: "${{{{ item }}}}"}}
          - {{id: after, agent: hand, task: echo, with: {{value: "${{{{ steps.each.output }}}}"}}}}
        outputs: {{after: "${{{{ steps.after.output }}}}"}}
        """
    )
    crew.wait_for_state(run, "after", DONE)
    assert run.status() is RunState.RUNNING
    gate.touch()
    assert run.result(15) == {"after": [1]}
    assert {states(run)[f"each[{at}]"] for at in range(4)} == {DONE}


def test_a_failure_after_enough_have_succeeded_changes_nothing(crew: Team) -> None:
    run = crew.submit(
        """
        steps:
          - enough: 1
            rest: finish
            parallel:
              - {id: quick, agent: hand, task: echo}
              - steps: [{id: go, wait: {signal: go}}, {id: bad, agent: hand, task: fail}, {id: next, set: {x: 1}}]
          - {id: after, wait: {signal: after}}
          - {id: last, agent: hand, task: echo, with: {value: 1}}
        outputs: {last: "${{ steps.last.output }}"}
        """
    )
    crew.wait_for_state(run, "after", WAITING)
    run.signal("go")
    crew.wait_for_state(run, "bad", FAILED)
    run.signal("after")
    assert run.result(10) == {"last": 1}


def test_too_few_are_not_enough(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - id: race
            enough: 2
            parallel:
              - {id: good, agent: hand, task: echo}
              - {id: bad, agent: hand, task: fail, on_error: continue}
              - {id: untaken, when: "${{ false }}", agent: hand, task: echo}
          - {id: after, agent: hand, task: echo}
        """
    )
    assert run.status() is RunState.FAILED
    error = run.record().error
    assert error is not None
    assert (error.type, error.step) == ("NotEnough", "race")
    assert "1 of its branches succeeded, and 2 have to" in error.message
    assert states(run)["after"] is CANCELLED

    run = crew.run(
        """
        steps:
          - id: each
            foreach: [0, 1, 2]
            on_item_error: collect
            steps:
              - enough: 2
                id: race
                parallel:
                  - {id: good, agent: hand, task: echo, with: {value: "${{ item }}"}}
                  - {id: flaky, agent: hand, task: flaky, on_error: continue, with: {times: "${{ item }}"}}
              - {id: value, set: {of: "${{ item }}"}}
          - id: some
            foreach: [0, 1, 2]
            enough: 2
            on_item_error: skip
            on_error: continue
            agent: hand
            task: flaky
            with: {times: "${{ item }}"}
          - id: spin
            loop: {until: "${{ false }}", max_iterations: 3}
            on_error: continue
            steps:
              - id: turn
                enough: 1
                parallel: [{id: bad, agent: hand, task: fail, on_error: continue}]
        outputs:
          each: "${{ steps.each.output }}"
          some: "${{ steps.some.error.message }}"
          spin: "${{ steps.spin.error }}"
        """
    )
    found = run.result(15)
    assert found["each"][0] == {"of": 0}
    assert [item["error"]["type"] for item in found["each"][1:]] == ["NotEnough"] * 2
    assert found["some"] == "1 of its items succeeded, and 2 have to"
    assert (found["spin"]["type"], found["spin"]["step"]) == ("NotEnough", "turn")


def test_each_round_of_a_loop_is_a_race_of_its_own(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - id: spin
            loop: {{until: "${{{{ round.index == 2 }}}}", max_iterations: 5}}
            steps:
              - id: race
                enough: 1
                parallel:
                  - {{id: quick, agent: hand, task: echo, with: {{value: "${{{{ round.index }}}}"}}}}
                  - {{id: slow, agent: hand, task: hold, with: {{until: "{gate}"}}}}
                  - {{id: thread, agent: many, task: watch}}
                  - steps: [{{id: nap, wait: {{for: 1h}}}}, {{id: never, agent: hand, task: echo}}]
              - id: seen
                agent: hand
                task: echo
                with: {{value: ["${{{{ steps.quick.output }}}}", "${{{{ steps.slow.status }}}}"]}}
        outputs: {{seen: "${{{{ steps.seen.output }}}}", rounds: "${{{{ steps.quick.output }}}}"}}
        """
    )
    assert run.result(15) == {"seen": [2, "cancelled"], "rounds": 2}
    assert [step for step in order(crew, run) if step not in ("slow", "thread")] == ["quick", "seen"] * 3
    wait_until(
        lambda: sorted(order(crew, run, "end")) == sorted(order(crew, run)),
        what="the attempts of all rounds to be interrupted", timeout_s=10,
    )  # fmt: skip
    gate.touch()


def test_a_round_waits_for_what_may_finish_and_the_step_after_the_race_does_not(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - id: spin
            loop: {until: "${{ round.index == 1 }}", max_iterations: 5}
            steps:
              - id: race
                enough: 1
                rest: finish
                parallel:
                  - {id: quick, agent: hand, task: echo}
                  - steps: [{id: nap, wait: {for: 200ms}}, {id: slow, agent: hand, task: echo}]
              - {id: after, agent: hand, task: echo}
        """
    )
    assert run.status() is RunState.SUCCEEDED
    assert order(crew, run) == ["quick", "after", "slow"] * 2


def test_each_item_of_a_foreach_is_a_race_of_its_own(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - id: each
            foreach: [quick, slow, quick]
            steps:
              - id: race
                enough: 1
                parallel:
                  - {{id: work, agent: hand, task: hold,
                     with: {{until: "${{{{ item == 'quick' ? '/' : '{gate}' }}}}", value: "${{{{ item }}}}"}}}}
                  - {{id: late, wait: {{for: 300ms}}}}
              - {{id: value, set: {{of: "${{{{ steps.work.output }}}}"}}}}
        outputs: {{each: "${{{{ steps.each.output.map(one, one.of) }}}}"}}
        """
    )
    assert run.result(15) == {"each": ["quick", None, "quick"]}
    assert [states(run)[f"late[{at}]"] for at in range(3)] == [CANCELLED, DONE, CANCELLED]
    halted(crew, run, "work[1]")
    gate.touch()


def test_a_step_outside_that_needs_one_of_the_rest_is_not_left_behind(crew: Team) -> None:
    run = crew.submit(
        """
        steps:
          - id: race
            enough: 1
            parallel:
              - {id: go, wait: {signal: go}}
              - steps: [{id: asks, wait: {signal: other}}, {id: never, agent: hand, task: echo}]
          - {id: soft, needs: [never], agent: hand, task: echo, with: {value: "${{ steps.never.status }}"}}
          - {id: hard, needs: [never], run_if: all_success, agent: hand, task: echo}
        outputs: {soft: "${{ steps.soft.output }}"}
        """
    )
    crew.wait_for_state(run, "asks", WAITING)
    run.signal("go")
    assert run.result(10) == {"soft": "cancelled"}
    assert states(run)["hard"] is SKIPPED


def test_what_the_losers_had_done_is_undone_when_the_run_fails_later(crew: Team) -> None:
    run = crew.submit(
        """
        steps:
          - enough: 1
            parallel:
              - {id: go, wait: {signal: go}}
              - steps:
                  - {id: paid, agent: hand, task: echo, compensate: {agent: hand, task: echo}}
                  - {id: sent, agent: hand, task: fail, retry: {max_attempts: 9, delay: 1h},
                     compensate: {agent: hand, task: echo}}
          - {id: bad, agent: hand, task: fail}
        """
    )
    crew.wait_for_state(run, "sent", WAITING)
    run.signal("go")
    assert run.wait(10).state is RunState.FAILED
    assert order(crew, run)[-2:] == ["bad", "paid.compensate"]
    assert "sent.compensate" not in order(crew, run)


def test_a_rerun_does_not_race_again(crew: Team) -> None:
    gate = crew.new_file()
    run = crew.run(
        f"""
        steps:
          - enough: 1
            parallel:
              - {{id: quick, agent: hand, task: echo, with: {{value: 1}}}}
              - steps: [{{id: nap, wait: {{for: 1h}}}}, {{id: never, agent: hand, task: echo}}]
          - {{id: bad, agent: hand, task: appears,
             with: {{path: "{gate}", value: "${{{{ steps.quick.output + 1 }}}}"}}}}
        outputs: {{bad: "${{{{ steps.bad.output }}}}"}}
        """
    )
    assert run.status() is RunState.FAILED
    gate.touch()
    again = run.rerun()
    assert again.result(10) == {"bad": 2}
    assert order(crew, again) == ["bad"]
    assert states(again)["nap"] is CANCELLED


def test_a_race_goes_on_after_its_worker_was_killed(tmp_path: Path) -> None:
    with team(tmp_path, lease_s=1.0) as crew:
        gate = crew.new_file()
        worker = crew.start_worker("hand", "solo")
        run = crew.submit(
            f"""
            steps:
              - id: race
                enough: 1
                parallel:
                  - {{id: one, agent: hand, task: hold, with: {{until: "{gate}", value: 1}}}}
                  - {{id: two, agent: solo, task: hold, with: {{until: "{gate}", value: 2}}}}
              - {{id: after, agent: hand, task: echo, with: {{value: "${{{{ steps.one.output }}}}"}}}}
            outputs: {{after: "${{{{ steps.after.output }}}}"}}
            """
        )
        crew.wait_for_start(run, "one")
        crew.wait_for_start(run, "two")
        crew.kill_worker(worker)
        gate.touch()
        crew.start_worker("hand")  # nobody does what `solo` would
        assert run.result(20) == {"after": 1}
        assert (attempts(run)["one"], states(run)["two"]) == (2, CANCELLED)
        assert order(crew, run).count("after") == 1


# --- the run ends here ----------------------------------------------------------------------------------------------


def test_the_end_of_a_run_voids_what_else_it_does(crew: Team) -> None:
    gate = crew.new_file()
    (crew.folder / "end-kid.yaml").write_text("name: end-kid\nsteps: [{id: asks, wait: {signal: x}}]\n")
    run = crew.submit(
        f"""
        steps:
          - parallel:
              - {{id: runs, agent: hand, task: hold, with: {{until: "{gate}"}},
                 compensate: {{agent: hand, task: echo}}}}
              - {{id: asks, wait: {{signal: answer}}}}
              - {{id: kid, workflow: end-kid.yaml}}
              - {{id: retries, agent: many, task: fail, retry: {{max_attempts: 9, delay: 1h}}}}
              - steps:
                  - {{id: found, agent: hand, task: echo, with: {{value: 7}},
                     compensate: {{agent: hand, task: echo}}}}
                  - {{id: go, wait: {{signal: go}}}}
                  - {{id: enough, end: {{status: succeeded, message: "found ${{{{ steps.found.output }}}}"}}}}
                  - {{id: never, agent: hand, task: echo}}
          - {{id: after, agent: hand, task: echo}}
        outputs: {{found: "${{{{ steps.found.output }}}}", after: "${{{{ steps.after.status }}}}"}}
        on_failure: [{{id: alert, agent: hand, task: echo}}]
        finally: [{{id: clean, agent: hand, task: echo, with: {{value: "${{{{ steps.runs.status }}}}"}}}}]
        """
    )
    crew.wait_for_start(run, "runs")
    kid = child(crew, run, "kid")
    crew.wait_for_state(kid, "asks", WAITING)
    for step in ("asks", "retries", "go"):
        crew.wait_for_state(run, step, WAITING)
    run.signal("go")
    assert run.result(10) == {"found": 7, "after": "cancelled"}
    assert kid.wait(5).state is RunState.CANCELLED
    found = states(run)
    assert {step for step, state in found.items() if state is DONE} == {"found", "go", "enough", "clean"}
    assert {step for step, state in found.items() if state is CANCELLED} == {
        "runs", "asks", "kid", "retries", "never", "after",
    }  # fmt: skip
    assert output(run, "clean") == "cancelled"
    halted(crew, run, "runs")
    gate.touch()
    assert {"alert", "found.compensate"}.isdisjoint(order(crew, run))


def test_a_run_that_ends_as_failed_is_undone_and_cleaned_up(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: paid, agent: hand, task: echo, compensate: {agent: hand, task: echo}}
          - parallel:
              - {id: asks, wait: {signal: answer}}
              - {id: no, end: {status: failed, message: "no stock for ${{ steps.paid.status }}"}}
          - {id: after, agent: hand, task: echo}
        outputs: {after: 1}
        on_failure: [{id: alert, agent: hand, task: echo, with: {value: "${{ run.error.message }}"}}]
        finally: [{id: clean, agent: hand, task: echo}]
        """
    )
    assert run.status() is RunState.FAILED
    assert order(crew, run) == ["paid", "paid.compensate", "alert", "clean"]
    assert output(run, "alert") == "no stock for succeeded"
    error = run.record().error
    assert error is not None
    assert (error.step, error.message) == ("no", "no stock for succeeded")
    assert (states(run)["asks"], states(run)["after"]) == (CANCELLED, CANCELLED)


def test_a_loop_or_an_item_can_end_the_run(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - id: spin
            loop: {until: "${{ false }}", max_iterations: 99}
            steps:
              - {id: turn, agent: hand, task: echo, with: {value: "${{ round.index }}"},
                 compensate: {agent: hand, task: echo, with: {value: "${{ steps.turn.output }}"}}}
              - {id: stop, when: "${{ round.index == 2 }}", end: {status: failed, message: three}}
          - {id: after, agent: hand, task: echo}
        finally: [{id: clean, agent: hand, task: echo}]
        """
    )
    assert run.status() is RunState.FAILED
    assert [step.partition("~")[0] for step in order(crew, run)] == [
        *["turn"] * 3, *["turn.compensate"] * 3, "clean",
    ]  # fmt: skip
    gate = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - id: search
            foreach: [a, b, c, d]
            max_parallel: 3
            steps:
              - {{id: look, agent: hand, task: hold,
                 with: {{until: "${{{{ item == 'b' ? '/' : '{gate}' }}}}", value: "${{{{ item }}}}"}}}}
              - {{id: found, when: "${{{{ steps.look.output == 'b' }}}}", end: {{status: succeeded}}}}
          - {{id: after, agent: hand, task: echo}}
        outputs: {{search: "${{{{ steps.search.output }}}}", status: "${{{{ steps.search.status }}}}"}}
        """
    )
    assert run.result(15) == {"search": None, "status": "cancelled"}
    assert (states(run)["look[1]"], states(run)["found[1]"]) == (DONE, DONE)
    assert "look[3]" not in order(crew, run)
    halted(crew, run, *({"look[0]", "look[2]"} & set(order(crew, run))))
    gate.touch()


def test_the_end_of_a_child_run_is_the_end_of_its_step_only(crew: Team) -> None:
    (crew.folder / "early.yaml").write_text(
        """
name: early
inputs: {status: {type: string}}
steps:
  - {id: good, when: "${{ inputs.status == 'good' }}", end: {status: succeeded}}
  - {id: bad, when: "${{ inputs.status == 'bad' }}", end: {status: failed, message: not today}}
outputs: {good: "${{ steps.good.status }}"}
"""
    )
    run = crew.run(
        """
        steps:
          - {id: good, workflow: early.yaml, with: {status: good}}
          - {id: bad, workflow: early.yaml, with: {status: bad}, on_error: continue}
          - {id: after, agent: hand, task: echo, with: {value: "${{ steps.bad.error.message }}"}}
        outputs: {good: "${{ steps.good.output.good }}", after: "${{ steps.after.output }}"}
        """
    )
    found = run.result(10)
    assert found["good"] == "succeeded"
    assert "not today" in found["after"]


def test_the_winner_of_a_race_can_end_the_run(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - id: race
            enough: 1
            parallel:
              - steps: [{id: quick, agent: hand, task: echo}, {id: won, end: {status: succeeded}}]
              - {id: nap, wait: {for: 1h}}
          - {id: after, agent: hand, task: echo}
        """
    )
    assert run.status() is RunState.SUCCEEDED
    assert states(run) == {"quick": DONE, "won": DONE, "nap": CANCELLED, "after": CANCELLED}
