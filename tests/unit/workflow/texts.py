"""Short ways to a plan, or to the mistakes of a text; and a team of agents to check against."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.catalog import AgentInfo, Catalog, TaskInfo
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from orchestrator.workflow.plan import Plan

LIMITS = Settings()

#: For property tests: few enough examples for a suite of seconds, and no deadline on a busy machine.
quick = settings(max_examples=40, deadline=None)
TEAM = Catalog(
    (
        AgentInfo("writer", ("writing",), (TaskInfo("draft", {"topic": True, "notes": False}), TaskInfo("edit"))),
        AgentInfo("clerk", ("writing", "counting"), (TaskInfo("note", accepts_any=True),)),
        AgentInfo("stranger", ("guessing",), has_tasks_unknown=True),
    )
)


def plan_of(
    text: str, agents: Catalog | None = None, limits: Settings | None = None, file: Path | str = "flow.yaml"
) -> Plan:
    """The plan of a text; a text that starts with `- ` is only the steps. `file` is where its children lie beside."""
    return compile_workflow(
        load_workflow(file, text=_whole(text), limits=limits or LIMITS), agents=agents, limits=limits or LIMITS
    )


def problems_of(
    text: str, agents: Catalog | None = TEAM, limits: Settings | None = None, file: Path | str = "flow.yaml"
) -> list[Problem]:
    """The mistakes of a text. The steps of a text that starts with `- ` begin in line 3."""
    with pytest.raises(WorkflowInvalid) as caught:
        plan_of(text, agents, limits, file)
    problems: list[Problem] = caught.value.problems
    return problems


def messages_of(text: str, agents: Catalog | None = TEAM) -> list[str]:
    return [f"{problem.line} {problem.path}: {problem.message}" for problem in problems_of(text, agents)]


def edges(plan: Plan) -> dict[str, tuple[str, ...]]:
    """What each step needs."""
    return {step.id: step.needs for step in plan.steps}


def _whole(text: str) -> str:
    return "name: flow\nsteps:\n" + text if text.startswith("- ") else text
