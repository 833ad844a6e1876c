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
#: file -> its plan (None: it has mistakes), and how many levels of workflows it has, itself included
Known = dict[Path, tuple[Plan | None, int]]
MOST_FILES = 100  # of one workflow with all that it runs

class Children:
    """The child workflows of one file; a path is relative to the folder of the file that names it.

    Args:
        above: the files that lead to this one, the outermost first.
        known: what this compilation has compiled so far, wherever it was named.
        compiler: makes a plan of a loaded file.
    """

    def __init__(
        self,
        loaded: LoadedWorkflow,
        agents: Catalog | None,
        limits: Settings,
        above: tuple[Path, ...],
        known: Known,
        compiler: Callable[[LoadedWorkflow, Catalog | None, Settings, tuple[Path, ...], Known], Plan],
    ) -> None:
        self._compiler = compiler
        self._file = Path(loaded.file)
        self._agents = agents
        self._limits = limits
        self._above = (*above, self._file.resolve())
        self._known = known
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
        if self._too_deep(1, place, graph):
            return None
        if path not in self._known:
            if len(self._known) >= MOST_FILES:
                graph.problems.append((place, f"workflows run more than {MOST_FILES} files"))
                return None
            plan = self._compile(path, spec, place, graph)
            self._known.setdefault(path, (plan, 1))
        plan, levels = self._known[path]
        if self._too_deep(levels, place, graph):
            return None
        self._plans[path] = plan
        if plan is not None:
            _check_inputs(plan, node, spec, graph)
        return plan

    def note(self, plan: Plan) -> None:
        """The plan of this file is made, which others may run, too."""
        levels = (self._known[path][1] for path in self._plans)
        self._known[self._above[-1]] = plan, 1 + max(levels, default=0)

    def _too_deep(self, levels: int, place: Any, graph: Graph) -> bool:
        """Whether a child with so many levels, its own included, is one too many; then it is noted."""
        most = self._limits.max_workflow_depth
        if len(self._above) + levels - 1 <= most:
            return False
        graph.problems.append((place, f"workflows run workflows deeper than {most}"))
        return True

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
            return self._compiler(loaded, self._agents, self._limits, self._above, self._known)
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
