"""The workflows that a workflow runs: their files are found, compiled and pinned with it."""

from __future__ import annotations

from collections.abc import Callable
from os.path import isfile
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.catalog import Catalog
from orchestrator.workflow.file_text import read_text
from orchestrator.workflow.graph import Graph, Node
from orchestrator.workflow.inputs import wrong_value
from orchestrator.workflow.loader import LoadedWorkflow, load_workflow
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.plan import Plan
from orchestrator.workflow.spec import Step

Json = Any


class Children:
    """The child workflows of one file; a path is relative to the folder of the file that names it.

    Args:
        above: the files that lead to this one, the outermost first.
        compiler: makes a plan of a loaded file, as `compile_workflow` does.
    """

    def __init__(
        self,
        loaded: LoadedWorkflow,
        agents: Catalog | None,
        limits: Settings,
        above: tuple[Path, ...],
        compiler: Callable[..., Plan],
    ) -> None:
        self._compiler = compiler
        self._file = Path(loaded.file)
        self._agents = agents
        self._limits = limits
        self._above = (*above, self._file.resolve())
        self._plans: dict[Path, Plan | None] = {}
        self.problems: list[Problem] = []

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The children and theirs, each once."""
        found: dict[str, Plan] = {}
        for plan in self._plans.values():
            if plan is not None:
                found |= {child.hash: child for child in (plan, *plan.children)}
        return tuple(found.values())

    def named(self, plan_hash: str) -> Plan:
        """The child of this hash. Raises KeyError."""
        return {plan.hash: plan for plan in self._plans.values() if plan is not None}[plan_hash]

    def of(self, node: Node, spec: Step, graph: Graph) -> Plan | None:
        """The plan of the workflow that a step runs; its mistakes, and those of `with`, are noted."""
        place = (*node.place, "workflow")
        path = self._inside(str(spec.workflow))
        if path is None:
            graph.problems.append((place, f"{spec.workflow!r} leads out of the folder of this file; put it inside"))
            return None
        if path in self._above:
            chain = " -> ".join(found.name for found in (*self._above[self._above.index(path) :], path))
            graph.problems.append((place, f"the workflow runs itself: {chain}"))
            return None
        if len(self._above) > self._limits.max_workflow_depth:
            graph.problems.append((place, f"workflows run workflows deeper than {self._limits.max_workflow_depth}"))
            return None
        if path not in self._plans:
            self._plans[path] = self._compile(path, spec, place, graph)
        plan = self._plans[path]
        if plan is not None:
            _check_inputs(plan, node, spec, graph)
        return plan

    def _inside(self, name: str) -> Path | None:
        """The file of this name below the folder of this one, links followed. None: it is somewhere else."""
        folder = self._file.parent.resolve()
        try:
            path = (folder / name).resolve()
        except (OSError, RuntimeError, ValueError):  # too long, a link to itself, a zero character
            return None
        named = Path(name)
        return path if path.is_relative_to(folder) and not named.is_absolute() and ".." not in named.parts else None

    def _compile(self, path: Path, spec: Step, place: Any, graph: Graph) -> Plan | None:
        if not isfile(path):
            graph.problems.append((place, f"no such file: {self._file.parent / str(spec.workflow)}"))
            return None
        try:
            # The file that was found inside, not what its name leads to by now.
            text = read_text(path, self._limits.max_definition_bytes, links=False)
            loaded = load_workflow(self._file.parent / str(spec.workflow), text=text, limits=self._limits)
            return self._compiler(loaded, agents=self._agents, limits=self._limits, above=self._above)
        except WorkflowInvalid as invalid:
            self.problems += invalid.problems
            return None


def _check_inputs(plan: Plan, node: Node, spec: Step, graph: Graph) -> None:
    given = spec.with_ or {}
    schema = plan.inputs_schema
    for name, value in given.items():
        if name not in schema:
            near = did_you_mean(name, schema) or (f"; it has {listed(schema)}" if schema else "; it has none")
            graph.problems.append(((*node.place, "with", name), f"{plan.name} has no input {name!r}{near}"))
        elif not _has_expression(value) and (wrong := wrong_value(value, schema[name])):
            graph.problems.append(((*node.place, "with", name), wrong))
    missing = [name for name, declared in schema.items() if "default" not in declared and name not in given]
    if missing:
        place = (*node.place, "with") if given else node.place
        graph.missing(place, f"{plan.name} needs {listed(map(repr, missing))} under `with`")


def _has_expression(value: Json) -> bool:
    if isinstance(value, str):
        return "${{" in value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_expression, parts))
