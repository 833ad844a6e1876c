"""Why a step waits, was skipped or has not started, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.records import RunRecord, StepError, StepRecord
from orchestrator.states import RunState, StepState
from orchestrator.store.rows import in_order
from orchestrator.web.sentences import Why
from tests.cli.texts import plan_of

RUNNING = RunRecord("01a", "test", "", "hash", RunState.RUNNING, "medium", 0)
OLD = 1_767_225_600_000  # 2026-01-01
DONE = StepState.SUCCEEDED
BAD = StepError("Bad", "a\nb")


def run(state: RunState = RunState.RUNNING, **fields: Any) -> RunRecord:
    return RunRecord("01a", "test", "", "hash", state, "medium", 0, **fields)


def sentences(
    text: str, *known: StepRecord, of: RunRecord = RUNNING, online: tuple[str, ...] = (), holders: tuple[str, ...] = ()
) -> Mapping[str, str]:
    plan, records = plan_of(text), {record.id: record for record in known}
    why = Why(of, plan, records, online, holders)
    return {record.id: why.about(record) for record in in_order(plan, records, of.state)}


def step(name: str, state: StepState, **fields: Any) -> StepRecord:
    return StepRecord(name, state, **fields)


CHAIN = "steps: [{id: a, agent: x, task: t}, {id: b, agent: x, task: t}]"


def test_a_step_waits_for_the_steps_it_needs_that_are_not_over() -> None:
    needs = ", ".join(f"{{id: s{at}, set: {{a: 1}}, needs: []}}" for at in range(5))
    text = f"steps: [{needs}, {{id: last, set: {{a: 1}}, needs: [s0, s1, s2, s3, s4]}}]"
    assert sentences(text)["last"] == "Waits for s0, s1 and 3 more."
    assert sentences(text, *(step(f"s{at}", DONE) for at in range(4)))["last"] == "Waits for s4."


def test_what_the_compiler_adds_is_not_named() -> None:
    text = """
    steps:
      - {id: a, set: {x: 1}}
      - {parallel: [{id: b, set: {x: 1}}, {id: c, set: {x: 1}}]}
      - {parallel: [{id: d, set: {x: 1}}, {id: e, set: {x: 1}}]}
      - {id: pick, switch: [{when: "${{ true }}", steps: [{id: f, set: {x: 1}}]}]}
      - {id: again, loop: {until: "${{ true }}", max_iterations: 2}, steps: [{id: g, set: {x: 1}}]}
    """
    told = sentences(text, step("a", DONE), step("b", DONE))
    assert (told["d"], told["f"], told["g"]) == ("Waits for c.", "Waits for d and e.", "Waits for again.")


@pytest.mark.parametrize(
    ("record", "online", "expected"),
    [
        (step("a", StepState.PENDING, ready_at=OLD), ("x",), "Ready since @: waits for a free worker of the agent x."),
        (step("a", StepState.PENDING, ready_at=OLD), (), "Ready since @, but no worker of the agent x is online."),
        (step("a", StepState.WAITING, signal="go", retry_at=OLD), (), "Waits for the signal go; at @ it fails."),
        (step("a", StepState.WAITING, retry_at=OLD, error=BAD), (), "Attempt 0 failed (Bad: a b); tried again at @."),
        (step("a", StepState.WAITING, reason="waits for the limit api"), (), "Waits for the limit api."),
        (step("a", StepState.WAITING, child="01b"), (), "Waits for the end of run 01b."),
        (step("a", StepState.FAILED, attempts=3, error=BAD), (), "Failed after 3 attempts: Bad: a b"),
        (step("a", StepState.RUNNING, progress=0.5, note="reading"), (), "50% reading."),
        (step("a", StepState.SUCCEEDED, attempts=2), (), "At attempt 2."),
        (step("a", StepState.SUCCEEDED, hands=("x", "y")), (), "Went from x to y."),
        (step("a", StepState.SKIPPED, reason="another branch"), (), "Skipped: another branch."),
    ],
)  # fmt: skip
def test_each_state_has_its_sentence(record: StepRecord, online: tuple[str, ...], expected: str) -> None:
    assert sentences(CHAIN, record, online=online)["a"] == expected.replace("@", "2026-01-01 00:00:00 UTC")


def test_a_condition_that_is_false_is_shown() -> None:
    text = 'steps: [{id: a, when: "${{ inputs.n > 2 }}", set: {x: 1}}]\ninputs: {n: {type: integer}}'
    told = sentences(text, step("a", StepState.SKIPPED, reason="its when is false"))
    assert told["a"] == "Skipped: its condition ${{ inputs.n > 2 }} is false."


def test_what_holds_the_whole_run_comes_first() -> None:
    ready = step("a", StepState.PENDING, ready_at=OLD)
    queued = run(RunState.PENDING, waits_for="deploy")
    assert sentences(CHAIN, of=queued, holders=("01b",))["a"] == (
        "The run waits for a place under deploy, which 01b has."
    )
    assert "paused" in sentences(CHAIN, ready, of=run(RunState.PAUSED))["a"]
    assert sentences(CHAIN, of=run(verdict="failed", phase="finally"))["b"] == (
        "It will not start: the run has failed and is being ended."
    )


def test_what_was_cancelled_was_stopped_or_never_started() -> None:
    stopped = step("a", StepState.CANCELLED, started_at=OLD)
    told = sentences(CHAIN, stopped, of=run(RunState.CANCELLED))
    assert (told["a"], told["b"]) == ("Stopped: the run was cancelled.", "Never started: the run was cancelled.")
    assert sentences(CHAIN, of=run(RunState.FAILED))["b"] == "Never started: the run failed."
