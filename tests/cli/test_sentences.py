"""Lines of a log from events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.cli.sentences import Sentences
from orchestrator.workflow.plan import Plan
from tests.cli.texts import event, plan_of
from tests.factories import foreach, plan, task

PLAN = plan(task("a"), foreach("each", "a"), task("b", "each"))


def teller(of: Plan) -> Callable[..., list[str]]:
    """Events of one run, in order, to lines."""
    sentences = Sentences(of)

    def tell(*args: Any, **options: Any) -> list[str]:
        return list(sentences.tell(event(*args, **options)))

    return tell


def test_sentences_name_step_agent_attempt_and_reason() -> None:
    tell = teller(PLAN)
    assert tell("run.created") == []
    assert tell("step.started", "a", attempt=1) == ["step a started (writer.draft)"]
    assert tell("step.succeeded", "a", at=1500) == ["step a succeeded in 1.5 s"]
    assert tell("step.started", "each", note="3") == ["step each started: 3 items (writer.draft)"]
    assert tell("step.started", "each[2]", attempt=2) == ["step each[2] started (writer.draft, attempt 2)"]
    assert tell("step.skipped", "b", note="when is false") == ["step b skipped: when is false"]
    assert tell("run.failed", type="E", message="\x1b[31m") == ["run failed: E: \\x1b[31m"]


def test_sentences_about_the_run_as_a_whole() -> None:
    tell = teller(PLAN)
    assert tell("run.queued", note="test:main") == ["run waits for a place under test:main"]
    assert tell("run.paused") == ["run paused"]
    assert tell("run.resumed") == ["run resumed"]
    assert tell("run.signalled", note="go") == ["run got the signal go"]
    assert tell("run.unused_signals", go=["1"], type=["2"]) == ["run ends with signals nobody waited for: go, type"]


def test_sentences_about_steps_that_wait_turn_and_fall_back() -> None:
    tell = teller(
        plan_of(
            """
            steps:
              - {id: sign, wait: {signal: approval}}
              - {id: nap, wait: {for: 90s}}
              - {id: then, wait: {until: "2026-12-24T18:00:00Z"}}
              - {id: spin, loop: {until: "${{ true }}", max_iterations: 3}, steps: [{id: turn, set: {x: 1}}]}
              - {id: kid, agent: writer, fallback: {agent: editor, task: mend}, compensate: {agent: writer, task: undo}}
              - {id: over, when: false, end: {status: succeeded}}
              - {id: each, foreach: [1], steps: [{id: inner, foreach: [1], agent: writer}]}
            """
        )
    )
    assert tell("step.waiting", "sign", note="waits for the signal approval") == [
        "step sign waits for the signal approval"
    ]
    assert tell("step.succeeded", "sign", at=2000) == ["step sign succeeded in 2.0 s"]
    assert tell("step.waiting", "nap") == ["step nap waits for 1m 30s"]
    assert tell("step.waiting", "then") == ["step then waits until 2026-12-24T18:00:00Z"]
    assert tell("step.started", "spin") == ["step spin started"]
    assert tell("step.round", "spin", note="1") == ["step spin begins round 2"]
    assert tell("step.limited", "kid", note="waits for the limit api") == ["step kid waits for the limit api"]
    assert tell("step.fell_back", "kid", type="E", message="m") == [
        "step kid failed and falls back to editor.mend: E: m"
    ]
    assert tell("step.started", "kid", attempt=2) == ["step kid started (editor.mend, attempt 2)"]
    assert tell("step.started", "kid.compensate~3", attempt=1) == ["step kid.compensate~3 started (writer.undo)"]
    assert tell("step.started", "each", note="1") == ["step each started: 1 item"]
    assert tell("step.started", "inner[0]", note="2") == ["step inner[0] started: 2 items (writer.inner)"]
    assert tell("step.started", "inner[0][1]", attempt=1) == ["step inner[0][1] started (writer.inner)"]
    assert tell("step.succeeded", "over") == ["step over ends the run"]
    assert tell("step.started", "turn", run="01abc") == ["step turn started as run 01abc"]
