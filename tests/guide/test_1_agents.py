"""Agents: named groups of plain functions. Everything here runs in this process, with `simulate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from orchestrator import Agent, Context, Done, Fatal, RetryLater, StepState
from orchestrator.testing import simulate

Write = Callable[[str], Path]


class Score(BaseModel):
    """What a critic gives."""

    points: int
    remark: str = ""


def test_an_agent_has_tasks_and_a_task_is_a_plain_function(workflow: Write) -> None:
    writer = Agent("writer", capabilities=["writing"])

    @writer.task
    def draft(topic: str, words: int = 10) -> str:
        return f"{words} words about {topic}"

    assert draft("rain") == "10 words about rain", "it can be called and tested as such"
    file = workflow(
        """
        name: first
        steps:
          - {id: text, agent: writer, task: draft, with: {topic: rain}}
        outputs: {text: "${{ steps.text.output }}"}
        """
    )
    assert simulate(file, agents=[writer]).outputs == {"text": "10 words about rain"}


def test_values_are_checked_against_the_annotations(workflow: Write) -> None:
    critic = Agent("critic")

    @critic.task
    def score(text: str) -> Score:
        return Score(points=len(text))

    file = workflow(
        """
        name: typed
        steps:
          - {id: good, agent: critic, with: {text: "rain"}}
          - {id: bad, agent: critic, with: {text: ["no", "text"]}, on_error: continue}
        """
    )
    steps = simulate(file, agents=[critic]).steps
    assert steps["good"].output == {"points": 4, "remark": ""}
    assert steps["bad"].error is not None
    assert steps["bad"].error.message.startswith("text: input should be a valid string")


def test_the_context_tells_a_handler_where_it_is(workflow: Write) -> None:
    clerk = Agent("clerk")

    @clerk.task
    def file_it(ctx: Context) -> dict[str, object]:
        ctx.log.info("filing")
        ctx.progress(0.5, "half of it")
        return {"step": ctx.step_id, "attempt": ctx.attempt, "who": ctx.inputs["who"]}

    file = workflow(
        """
        name: context
        inputs: {who: {type: string}}
        steps: [{id: cabinet, agent: clerk}]
        """
    )
    run = simulate(file, {"who": "Ada"}, agents=[clerk])
    assert run.steps["cabinet"].output == {"step": "cabinet", "attempt": 1, "who": "Ada"}


def test_an_async_handler_is_a_task_like_any_other(workflow: Write) -> None:
    reader = Agent("reader")

    @reader.task
    async def read(url: str) -> str:
        return f"text of {url}"

    file = workflow("{name: async, steps: [{id: page, agent: reader, with: {url: example.org}}]}")
    assert simulate(file, agents=[reader]).steps["page"].output == "text of example.org"


def test_done_is_a_result_too(workflow: Write) -> None:
    solver = Agent("solver")

    @solver.task
    def solve() -> Done:
        return Done({"answer": 42})

    file = workflow("{name: done, steps: [{id: a, agent: solver}]}")
    assert simulate(file, agents=[solver]).steps["a"].output == {"answer": 42}


def test_a_failed_attempt_is_repeated_and_the_delays_pass_in_no_time(workflow: Write) -> None:
    caller = Agent("caller")

    @caller.task
    def call(ctx: Context) -> str:
        if ctx.attempt < 3:
            raise ConnectionError("nobody there")
        return "hello"

    file = workflow(
        """
        name: retries
        steps:
          - {id: a, agent: caller, retry: {max_attempts: 3, delay: 1m, backoff: exponential}}
        """
    )
    run = simulate(file, agents=[caller])
    assert (run.steps["a"].attempts, run.steps["a"].output) == (3, "hello")
    assert run.duration_s == 60 + 120


def test_a_handler_may_set_the_delay_or_stop_the_retries(workflow: Write) -> None:
    service = Agent("service")

    @service.task
    def busy(ctx: Context) -> str:
        if ctx.attempt == 1:
            raise RetryLater("too many requests", after_s=30)
        return "now"

    @service.task
    def refuse() -> None:
        raise Fatal("wrong password")

    file = workflow(
        """
        name: outcomes
        defaults: {retry: {max_attempts: 5, delay: 1s}}
        steps:
          - {id: later, agent: service, task: busy}
          - {id: never, agent: service, task: refuse, on_error: continue}
        """
    )
    run = simulate(file, agents=[service])
    assert run.duration_s == 30
    assert (run.steps["later"].attempts, run.steps["never"].attempts) == (2, 1)
    assert run.steps["never"].status is StepState.FAILED
