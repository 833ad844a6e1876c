"""Plans from YAML, and events, for tests: each call states only what differs."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from orchestrator.records import Event
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from orchestrator.workflow.plan import Plan


def plan_of(text: str) -> Plan:
    """The plan of a workflow given as text; `name:` is put before it. Agents are not checked."""
    return compile_workflow(load_workflow("test.yaml", text="name: test\n" + dedent(text)))


def event(name: str, step: str | None = None, at: int = 0, attempt: int | None = None, **data: Any) -> Event:
    return Event(id=f"{at}-0", at=at, name=name, step=step, attempt=attempt, data=data)
