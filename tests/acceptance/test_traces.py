"""Traces over real processes: the command that submits, two workers, and an SDK that sends spans in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.project import Project

AGENTS = """
import json, os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from orchestrator import Agent, Context, Handoff

class ToFile(SpanExporter):
    def export(self, spans):
        with open(os.environ["SPANS"], "a") as file:
            file.writelines(json.dumps(json.loads(span.to_json())) + chr(10) for span in spans)
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ToFile(), schedule_delay_millis=60_000))
trace.set_tracer_provider(provider)

one, two = Agent("one", concurrency=1), Agent("two", concurrency=1)

@one.task
def begin(ctx: Context) -> Handoff:
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return Handoff(to="two")

@two.task(name="begin")
async def finish(context: dict) -> str:
    with trace.get_tracer("team").start_as_current_span("thinking"):
        return "done"
"""
FLOW = """
name: flow
steps:
  - {id: first, agent: two, task: begin, with: {context: {}}}
  - {id: a, agent: one, task: begin, retry: {max_attempts: 2, delay: 1ms}}
"""
ONE = "name: one\nsteps: [{id: a, agent: two, task: begin, with: {context: {}}}]"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    (tmp_path / "traced.py").write_text(AGENTS)
    (tmp_path / "flow.yaml").write_text(FLOW)
    made.environment |= {"ORCHESTRATOR_AGENTS": str(tmp_path / "traced.py"), "SPANS": str(tmp_path / "spans")}
    yield made
    made.close()


def paths(project: Project) -> list[tuple[str, ...]]:
    """The names from the root to each span that was told, in the order they began; a span must have all around it."""
    spans: list[dict[str, Any]] = [json.loads(line) for line in (project.folder / "spans").read_text().splitlines()]
    by_id = {span["context"]["span_id"]: span for span in spans}  # both are written as 0x...
    found = []
    for span in sorted(spans, key=lambda span: str(span["start_time"])):
        names, at = [span["name"]], span
        while at["parent_id"] is not None:
            at = by_id[at["parent_id"]]
            names.insert(0, at["name"])
        found.append(tuple(names))
    assert len({span["context"]["trace_id"] for span in spans}) == 1
    return found


def test_every_process_adds_to_one_trace_and_tells_its_spans_before_it_ends(project: Project) -> None:
    assert project.json("run", "flow.yaml")["status"] == "succeeded"
    project.wait_until_quiet()
    assert sorted(paths(project)) == [
        ("run flow",),
        ("run flow", "outcome flow"),
        ("run flow", "step a"),
        ("run flow", "step a"),
        ("run flow", "step a", "one.begin"),
        ("run flow", "step a", "one.begin"),
        ("run flow", "step a", "two.begin"),
        ("run flow", "step a", "two.begin", "thinking"),
        ("run flow", "step first"),
        ("run flow", "step first", "two.begin"),
        ("run flow", "step first", "two.begin", "thinking"),
    ]


def test_a_pool_of_threads_tells_its_spans_before_it_ends(project: Project) -> None:
    (project.folder / "one.yaml").write_text(ONE)
    worker = project.start("worker", "two", "--pool", "threads")
    assert project.json("run", "one.yaml")["status"] == "succeeded"
    worker.terminate()
    worker.communicate(timeout=20)
    assert ("run one", "step a", "two.begin", "thinking") in paths(project)
