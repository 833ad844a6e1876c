"""The spans of runs and messages, as the SDK's exporter in memory gets them. Worker, keeper and client are here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from orchestrator import Agent, AgentMessage, Client, Context, DeliveryOptions, Handoff, RetryLater, RunHandle, Settings
from orchestrator.agents.loading import AgentRegistry
from orchestrator.runtime.app import make_app
from orchestrator.runtime.keeper import Keeper
from orchestrator.store import embedded
from orchestrator.store.connection import SocketConnection
from orchestrator.store.directory import Directory
from orchestrator.testing import simulate
from tests.conftest import KEYS
from tests.waiting import wait_until

PAYLOAD = "the payload itself"
writer, editor = Agent("writer"), Agent("editor")


@writer.task
@editor.task
def draft(topic: str) -> dict[str, str]:
    return {"topic": topic}


@writer.task
def nested(topic: str) -> str:
    """Make a span of its own."""
    with trace.get_tracer("team").start_as_current_span("thinking"):
        return topic


@writer.task
async def nested_later(topic: str) -> str:
    await asyncio.sleep(0)
    with trace.get_tracer("team").start_as_current_span("thinking"):
        return topic


@writer.task
def flaky(topic: str, ctx: Context) -> str:
    if ctx.attempt < 3:
        raise ValueError(topic)
    return topic


@writer.task
def later(ctx: Context) -> None:
    if ctx.attempt == 1:
        raise RetryLater("not now", after_s=0.01)


@writer.task
def broken(topic: str) -> None:
    raise KeyError(topic)


@writer.task
def pass_on(topic: str) -> Handoff:
    return Handoff(to="editor", task="finish", context={"note": topic})


@editor.task
def finish(topic: str, context: dict[str, str]) -> str:
    return topic


@writer.task
def tell(topic: str, ctx: Context) -> None:
    ctx.send("editor", topic)


@editor.on_message
def hear(message: AgentMessage) -> str | None:
    if message.text == "fail":
        raise OSError(message.text)
    return message.text


@dataclass
class Team:
    """Client, worker and keeper in one process."""

    client: Client
    engine: Any
    keeper: Keeper
    redis: redis.Redis
    folder: Path

    def submit(self, text: str, **options: Any) -> RunHandle:
        file = self.folder / f"flow{len(list(self.folder.iterdir()))}.yaml"
        file.write_text("name: flow\n" + dedent(text))
        return self.client.submit(file, **options)

    def run(self, text: str, **options: Any) -> RunHandle:
        """Submit a run and work until it is over."""
        run = self.submit(text, **options)
        self.work(run)
        return run

    def work(self, run: RunHandle) -> None:
        wait_until(lambda: self.turn() and run.status().terminal, what="the end of the run", timeout_s=20)

    def turn(self) -> bool:
        """Everything that waits, then everything that is due."""
        for member in self.redis.zrange(KEYS.ready, 0, -1):
            *_, run_id, step_id = member.split(" ")
            advance = self.engine.executor.run_step(run_id, step_id, worker="w1")
            if advance is not None:
                self.engine.carry_on(advance)
        for member in self.redis.zrange(KEYS.rings, 0, -1):
            self.engine.executor.run_message(member.split(" ")[3], worker="w1", ring=member)
        due = self.engine.timers.take_due(limit=100, hold_ms=1000)
        self.keeper._do_all(due, self.keeper._do)
        mail = self.engine.timers.take_due_messages(limit=100, hold_ms=1000)
        self.keeper._do_all(mail, self.keeper._wake_message)
        return True


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """An SDK that is set up for the time of a test."""
    found, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return found


@pytest.fixture
def make_team(client: redis.Redis, server: embedded.EmbeddedServer, tmp_path: Path) -> Iterator[Callable[..., Team]]:
    made = []

    def make(**options: Any) -> Team:
        settings = Settings(url=server.url, prefix=KEYS.prefix, **options)
        registry = AgentRegistry([writer, editor])
        app = make_app(settings)
        app.engine._registry = registry
        near = Client(settings)
        near.__dict__["registry"] = registry
        Directory(client, KEYS, lease_ms=60_000).heartbeat("w1", registry.catalog().agents)
        made.append(near)
        return Team(near, app.engine, Keeper(app, "w1"), client, tmp_path)

    yield make
    for near in made:
        near.close()


@pytest.fixture
def team(exporter: InMemorySpanExporter, make_team: Callable[..., Team]) -> Team:
    return make_team()


class Tree:
    """The spans that were exported, and who is inside whom."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self.spans: Sequence[ReadableSpan] = exporter.get_finished_spans()
        self.by_id = {span.context.span_id: span for span in self.spans}

    def __getitem__(self, name: str) -> ReadableSpan:
        [found] = self.all(name)
        return found

    def all(self, name: str) -> list[ReadableSpan]:
        """The spans of a name, the earliest first."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_time or 0)

    def path(self, span: ReadableSpan) -> list[str]:
        """Its name and the names of those around it, the outermost first."""
        names = [span.name]
        while span.parent is not None:
            span = self.by_id[span.parent.span_id]
            names.insert(0, span.name)
        return names

    @property
    def traces(self) -> set[int]:
        return {span.context.trace_id for span in self.spans}


def about(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("orchestrator."): value for name, value in (span.attributes or {}).items()}


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_is_one_trace_with_a_span_for_each_step_and_attempt(team: Team, exporter: InMemorySpanExporter) -> None:
    run = team.run(
        """
        steps:
          - {id: a, agent: writer, task: draft, with: {topic: x}}
          - {id: b, agent: editor, task: draft, with: {topic: y}, priority: high}
        """
    )
    tree = Tree(exporter)
    assert len(tree.traces) == 1
    assert sorted(tree.path(span) for span in tree.spans) == [
        ["run flow"], ["run flow", "outcome flow"], ["run flow", "step a"], ["run flow", "step a", "writer.draft"],
        ["run flow", "step b"], ["run flow", "step b", "editor.draft"],
    ]  # fmt: skip
    attempt = about(tree["editor.draft"])
    assert 0 <= attempt.pop("queue_wait_ms") < 5000
    assert attempt == {
        "run.id": run.id, "workflow": "flow", "step.id": "b", "agent": "editor", "task": "draft", "priority": "high",
        "attempt": 1, "state": "succeeded",
    }  # fmt: skip
    assert about(tree["step a"])["priority"] == "medium"
    assert all(span.status.status_code is StatusCode.UNSET for span in tree.spans)


def test_the_outcome_is_as_long_as_the_run(team: Team, exporter: InMemorySpanExporter) -> None:
    run = team.run("steps: [{id: a, agent: writer, task: draft, with: {topic: x}}]")
    outcome, record = Tree(exporter)["outcome flow"], run.record()
    assert (outcome.start_time, outcome.end_time) == (record.created_at * 10**6, (record.finished_at or 0) * 10**6)
    assert about(outcome) == {"run.id": run.id, "workflow": "flow", "state": "succeeded"}


@pytest.mark.parametrize("task", ["nested", "nested_later"])
def test_spans_of_a_handler_are_inside_its_attempt(team: Team, exporter: InMemorySpanExporter, task: str) -> None:
    team.run(f"steps: [{{id: a, agent: writer, task: {task}, with: {{topic: x}}}}]")
    tree = Tree(exporter)
    assert tree.path(tree["thinking"]) == ["run flow", "step a", f"writer.{task}", "thinking"]


def test_retries_are_attempts_of_one_step_and_say_why(team: Team, exporter: InMemorySpanExporter) -> None:
    team.run(
        f"""
        steps:
          - id: a
            agent: writer
            task: flaky
            with: {{topic: {PAYLOAD}}}
            retry: {{max_attempts: 3, delay: 1ms}}
        """
    )
    tree = Tree(exporter)
    attempts = tree.all("writer.flaky")
    assert {tuple(tree.path(span)) for span in attempts} == {("run flow", "step a", "writer.flaky")}
    assert len(tree.all("step a")) == 1
    assert [about(span)["attempt"] for span in attempts] == [1, 2, 3]
    assert [about(span)["state"] for span in attempts] == ["retrying", "retrying", "succeeded"]
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    [event] = attempts[0].events
    assert (event.name, event.attributes["exception.type"]) == ("exception", "ValueError")
    assert "in flaky" in str(event.attributes["exception.stacktrace"])
    assert (attempts[0].attributes or {})["error.type"] == "ValueError"
    assert tree["step a"].status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(("attempts", "state", "error"), [(3, "succeeded", None), (2, "failed", "ValueError")])
def test_a_step_that_was_retried_has_an_outcome_that_covers_its_attempts(
    team: Team, exporter: InMemorySpanExporter, attempts: int, state: str, error: str | None
) -> None:
    retry = f"{{max_attempts: {attempts}, delay: 1ms}}"
    run = team.run(f"steps: [{{id: a, agent: writer, task: flaky, with: {{topic: x}}, retry: {retry}}}]")
    tree = Tree(exporter)
    outcome, tries = tree["outcome a"], tree.all("writer.flaky")
    assert tree.path(outcome) == ["run flow", "step a", "outcome a"]
    assert outcome.start_time == (run.steps()[0].started_at or 0) * 10**6
    assert (outcome.end_time or 0) // 10**6 >= (tries[-1].end_time or 0) // 10**6
    assert (about(outcome)["step.id"], about(outcome)["state"], outcome.status.description) == ("a", state, error)
    assert len(tries) == attempts


@pytest.mark.parametrize("before", [0, 1])
def test_an_attempt_whose_worker_is_lost_is_told_of_by_the_next_one(
    team: Team, exporter: InMemorySpanExporter, before: int
) -> None:
    """Lost as the first attempt, and as the one after an attempt that failed."""
    run = team.submit(
        """
        steps:
          - {id: a, agent: writer, task: flaky, with: {topic: x}, retry: {max_attempts: 5, delay: 1ms}}
        """
    )
    for _ in range(before):
        team.turn()
    store = team.engine.store
    lost = wait_until(
        lambda: team.keeper._do_all(team.engine.timers.take_due(limit=9, hold_ms=9), team.keeper._do)
        or store.claim_step(run.id, "a", worker="w2", lease_ms=1),
        what="a claim", timeout_s=20,
    )  # fmt: skip
    assert lost.number == before + 1
    team.work(run)
    tree = Tree(exporter)
    attempts = tree.all("writer.flaky")
    assert [about(span)["attempt"] for span in attempts] == [1, 2, 3]
    [one] = [span for span in attempts if about(span)["state"] == "lost"]
    assert about(one)["attempt"] == lost.number
    assert (one.status.status_code, one.status.description) == (StatusCode.ERROR, "lost")
    assert len(tree.all("step a")) == 1
    assert {tuple(tree.path(span)) for span in attempts} == {("run flow", "step a", "writer.flaky")}
    assert (tree["step a"].start_time or 0) <= (one.start_time or 0) <= (one.end_time or 0)
    assert about(tree["outcome a"])["state"] == "succeeded"


def test_a_step_that_fails_marks_its_attempt_itself_and_the_run(team: Team, exporter: InMemorySpanExporter) -> None:
    team.run(f"steps: [{{id: a, agent: writer, task: broken, with: {{topic: {PAYLOAD}}}}}]")
    tree = Tree(exporter)
    for name in ("writer.broken", "step a", "outcome flow"):
        span = tree[name]
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "KeyError"), name
        assert (about(span)["state"], about(span)["error.type"]) == ("failed", "KeyError"), name


def test_no_payload_is_in_any_span(team: Team, exporter: InMemorySpanExporter) -> None:
    team.run(
        f"""
        steps:
          - {{id: a, agent: writer, task: tell, with: {{topic: {PAYLOAD}}}}}
          - {{id: b, agent: writer, task: broken, with: {{topic: {PAYLOAD}}}}}
        """
    )
    assert Tree(exporter).all("create editor")
    assert PAYLOAD not in "".join(span.to_json() for span in Tree(exporter).spans)


def test_after_a_handoff_the_step_has_a_second_span_with_a_link_to_the_first(
    team: Team, exporter: InMemorySpanExporter
) -> None:
    team.run("steps: [{id: a, agent: writer, task: pass_on, with: {topic: x}}]")
    tree = Tree(exporter)
    before, after = tree.all("step a")
    assert tree.path(tree["writer.pass_on"]) == ["run flow", "step a", "writer.pass_on"]
    assert (about(before)["agent"], about(before)["state"]) == ("writer", "handed_off")
    assert (about(after)["agent"], about(after)["state"]) == ("editor", "succeeded")
    assert [link.context.span_id for link in after.links] == [before.context.span_id]
    assert not before.links
    assert tree["editor.finish"].parent is not None
    assert tree["editor.finish"].parent.span_id == after.context.span_id


def test_rounds_of_a_loop_are_steps_of_their_own(team: Team, exporter: InMemorySpanExporter) -> None:
    team.run(
        """
        steps:
          - id: again
            loop: {until: "${{ round.index == 1 }}", max_iterations: 3}
            steps: [{id: a, agent: writer, task: later, retry: {max_attempts: 2, delay: 1ms}}]
        """
    )
    tree = Tree(exporter)
    assert [about(span)["attempt"] for span in tree.all("writer.later")] == [1, 2, 1, 2]
    assert len(tree.all("step a")) == 2
    assert len(tree.traces) == 1


def test_steps_without_an_agent_have_spans_too(team: Team, exporter: InMemorySpanExporter) -> None:
    run = team.submit(
        """
        steps:
          - {id: one, set: {x: 1}}
          - {id: sign, wait: {signal: go}}
          - {id: each, foreach: "${{ [1, 2] }}", agent: writer, task: draft, with: {topic: x}}
        outputs: {x: "${{ steps.one.output.x }}"}
        """
    )
    team.turn()
    run.signal("go")
    team.work(run)
    tree = Tree(exporter)
    assert tree.path(tree["step one"]) == ["run flow", "step one"]
    assert tree.path(tree["step sign"]) == ["run flow", "step sign"]
    assert sorted(str(about(span)["step.id"]) for span in tree.all("step each")) == ["each", "each[0]", "each[1]"]
    assert tree["outcome flow"].status.status_code is StatusCode.UNSET


def test_a_cancelled_run_has_an_outcome(team: Team, exporter: InMemorySpanExporter) -> None:
    run = team.submit("steps: [{id: sign, wait: {signal: go}}]")
    team.turn()
    run.cancel()
    tree = Tree(exporter)
    assert about(tree["outcome flow"])["state"] == "cancelled"
    assert about(tree["step sign"])["state"] == "cancelled"


def test_a_run_belongs_to_what_is_active_where_it_is_submitted(team: Team, exporter: InMemorySpanExporter) -> None:
    with trace.get_tracer("web").start_as_current_span("request"):
        run = team.submit("steps: [{id: a, agent: writer, task: draft, with: {topic: x}}]")
    team.work(run)
    tree = Tree(exporter)
    assert tree.path(tree["writer.draft"]) == ["request", "run flow", "step a", "writer.draft"]


def test_a_child_run_is_in_the_trace_of_its_parent(team: Team, exporter: InMemorySpanExporter) -> None:
    (team.folder / "child.yaml").write_text(
        "name: child\nsteps: [{id: c, agent: writer, task: draft, with: {topic: x}}]"
    )
    team.run("steps: [{id: a, workflow: child.yaml}]")
    tree = Tree(exporter)
    assert len(tree.traces) == 1
    assert tree.path(tree["writer.draft"]) == ["run flow", "run child", "step c", "writer.draft"]
    assert tree.path(tree["outcome child"]) == ["run flow", "run child", "outcome child"]


def test_a_run_that_was_submitted_without_traces_gets_its_span_from_the_first_step(
    exporter: InMemorySpanExporter, make_team: Callable[..., Team]
) -> None:
    run = make_team(traces="off").submit(
        """
        steps:
          - {id: a, agent: writer, task: draft, with: {topic: x}}
          - {id: b, agent: writer, task: draft, with: {topic: x}}
        """
    )
    assert not Tree(exporter).spans
    make_team().work(run)
    tree = Tree(exporter)
    assert tree.path(tree["step b"]) == ["run flow", "step b"]
    assert len(tree.traces) == len(tree.all("run flow")) == 1


def test_many_runs_have_a_trace_each(team: Team, exporter: InMemorySpanExporter) -> None:
    team.submit("steps: [{id: a, agent: writer, task: draft, with: {topic: x}}]").cancel()
    exporter.clear()
    runs = team.client.submit_many(team.folder / "flow0.yaml", [{}, {}, {}])
    for run in runs:
        team.work(run)
    tree = Tree(exporter)
    assert len(tree.traces) == 3
    assert {about(span)["run.id"] for span in tree.all("run flow")} == {run.id for run in runs}


# --- messages ---------------------------------------------------------------------------------------------------------


def deliver(team: Team, message_id: str) -> None:
    inbox = team.client.office.inbox
    wait_until(lambda: team.turn() and inbox.read(message_id).state.terminal, what="the message", timeout_s=20)


def test_a_message_of_a_step_goes_on_in_the_trace_of_the_run(team: Team, exporter: InMemorySpanExporter) -> None:
    run = team.run("steps: [{id: a, agent: writer, task: tell, with: {topic: hello}}]")
    found = [team.client.office.inbox.read(key.removeprefix("t:msg:")) for key in team.redis.scan_iter("t:msg:*")]
    [record] = [one for one in found if one.message.from_agent == "writer"]
    deliver(team, record.message.message_id)
    tree = Tree(exporter)
    created, processed = tree["create editor"], tree["process editor"]
    assert tree.path(processed) == ["run flow", "step a", "writer.tell", "create editor", "process editor"]
    assert (created.kind, processed.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    told = record.message.metadata["traceparent"].split("-")
    assert (int(told[1], 16), int(told[2], 16)) == (created.context.trace_id, created.context.span_id)
    told_of = about(processed)
    assert (told_of["messaging.destination.name"], told_of["messaging.operation.type"]) == ("editor", "process")
    assert told_of["messaging.message.id"] == record.message.message_id
    assert (told_of["agent"], told_of["from"], told_of["attempt"]) == ("editor", "writer", 1)
    assert told_of["state"] == "acknowledged"
    assert run.status().terminal


def test_attempts_at_a_message_say_how_they_ended(team: Team, exporter: InMemorySpanExporter) -> None:
    options = DeliveryOptions(max_retries=1, retry_delay_seconds=0.01)
    deliver(team, team.client.send("editor", "fail", delivery_options=options).message_id)
    attempts = Tree(exporter).all("process editor")
    assert [(about(span)["attempt"], about(span)["state"]) for span in attempts] == [(1, "pending"), (2, "dead")]
    assert {span.status.description for span in attempts} == {"OSError"}


def test_a_reply_goes_on_in_the_trace_of_the_question(team: Team, exporter: InMemorySpanExporter) -> None:
    deliver(team, team.client.send("editor", "hello", sender="writer").message_id)
    tree = Tree(exporter)
    assert tree.path(tree["create writer"]) == ["create editor", "process editor", "create writer"]


def test_a_handed_over_task_has_a_link_to_who_handed_it_over(team: Team, exporter: InMemorySpanExporter) -> None:
    deliver(team, team.client.handoff("editor", "draft", {"topic": PAYLOAD}).message_id)
    tree = Tree(exporter)
    processed = tree["process editor"]
    assert [link.context.span_id for link in processed.links] == [tree["create editor"].context.span_id]
    assert about(processed)["task"] == "draft"
    assert PAYLOAD not in processed.to_json()


def test_a_context_that_the_sender_has_put_there_stays(team: Team, exporter: InMemorySpanExporter) -> None:
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    deliver(team, team.client.send("editor", "hi", metadata={"traceparent": theirs}).message_id)
    [processed] = Tree(exporter).all("process editor")
    assert processed.parent is not None
    assert (processed.context.trace_id, processed.parent.span_id) == (
        0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331,
    )  # fmt: skip


@pytest.mark.parametrize("theirs", ["", "nonsense", 7, None])
def test_what_is_no_context_does_no_harm(team: Team, exporter: InMemorySpanExporter, theirs: Any) -> None:
    deliver(team, team.client.send("editor", "hi", metadata={"traceparent": theirs}).message_id)
    [processed] = Tree(exporter).all("process editor")
    assert processed.parent is None


# --- on and off -------------------------------------------------------------------------------------------------------


def test_off_makes_no_span_and_leaves_no_trace(exporter: InMemorySpanExporter, make_team: Callable[..., Team]) -> None:
    team = make_team(traces="off")
    run = team.run("steps: [{id: a, agent: writer, task: tell, with: {topic: x}}]")
    assert not Tree(exporter).spans
    assert not team.redis.hexists(KEYS.run(run.id), "trace")
    assert not any("traceparent" in (team.redis.hget(key, "env") or "") for key in team.redis.scan_iter("t:msg:*"))


def test_without_an_sdk_nothing_is_done_unless_asked(make_team: Callable[..., Team]) -> None:
    assert make_team().engine.executor._spans is None
    team = make_team(traces="on")
    assert team.engine.executor._spans is not None
    assert team.run("steps: [{id: a, agent: writer, task: draft, with: {topic: x}}]").status() == "succeeded"


@pytest.mark.parametrize(("traces", "calls"), [("off", 2), (None, 4)])
def test_a_step_asks_the_server_twice_more_for_its_spans(
    exporter: InMemorySpanExporter, make_team: Callable[..., Team], monkeypatch: pytest.MonkeyPatch,
    traces: str | None, calls: int,
) -> None:  # fmt: skip
    """Once for where they belong; and once whether the run is over, as nobody has said that it goes on here."""
    sent, send = [], SocketConnection.send_packed_command

    def count(self: SocketConnection, *args: Any, **kwargs: Any) -> None:
        sent.append(args)
        send(self, *args, **kwargs)

    team = make_team(traces=traces)
    team.run("steps: [{id: a, agent: writer, task: draft, with: {topic: x}}]")  # what is looked up only once is known
    run = team.submit(
        """
        steps:
          - {id: a, agent: writer, task: draft, with: {topic: x}}
          - {id: b, agent: editor, task: draft, with: {topic: x}}
        """
    )
    monkeypatch.setattr(SocketConnection, "send_packed_command", count)
    assert team.engine.executor.run_step(run.id, "a", worker="w1") is not None
    assert len(sent) == calls
    run.cancel()


def test_a_simulated_run_makes_no_span(exporter: InMemorySpanExporter, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text("name: flow\nsteps: [{id: a, agent: writer, task: draft, with: {topic: x}}]")
    assert simulate(file, agents=[writer], settings=Settings(traces="on")).status == "succeeded"
    assert not Tree(exporter).spans
