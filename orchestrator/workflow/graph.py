"""From nested steps to a flat graph: who needs whom, which gate is around a step, where a container ends.

"The step above" is the previous sibling. A `parallel` becomes a join at its end, and a gate at its start when it has a
`when` or a `run_if`; joins that nobody needs as a node are taken out again by `inline_joins`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from orchestrator.workflow.loader import LoadedWorkflow, Place
from orchestrator.workflow.plan import PlanStep, StepKind
from orchestrator.workflow.spec import Step

_SHARED_KEYS = {"id", "needs", "when", "run_if", "description"}


class Written(str):
    """A need as the file writes it: the id of a step or of a container, whose gate has the same id."""


@dataclass
class Node:
    """One node while the graph is built. `spec` is None for a join."""

    id: str
    kind: StepKind
    place: Place
    spec: Step | None
    needs: list[str]
    gate: str | None


@dataclass
class Graph:
    """All nodes in file order. `ends` maps what a file may need to the node that stands for its end."""

    loaded: LoadedWorkflow
    max_nesting: int
    nodes: dict[str, Node] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    written: list[tuple[Place, list[str]]] = field(default_factory=list)
    containers: int = 0

    def missing(self, place: Place, message: str) -> None:
        """Something is not there; no news if the schema refused a key of that place, which may have been meant."""
        if ".".join(map(str, place)) not in self._refused:
            self.problems.append((place, message))

    @cached_property
    def _refused(self) -> frozenset[str]:
        return frozenset(problem.path.rpartition(".")[0] for problem in self.loaded.problems)

    def block(self, steps: Iterable[Step], place: Place, after: list[str], gate: str | None, depth: int) -> None:
        """Lay out a sequence; its first step comes after the given nodes."""
        for at, step in enumerate(steps):
            end = self._step(step, (*place, at), after, gate, depth)
            after = [end] if end else after

    def _step(self, step: Step, place: Place, after: list[str], gate: str | None, depth: int) -> str | None:
        if depth > self.max_nesting:
            self.problems.append((place, f"containers are nested deeper than {self.max_nesting}"))
            return None
        if step.parallel is not None:
            return self._parallel(step, place, after, gate, depth)
        if step.steps is not None:
            self.problems.append((place, "`steps` stands only inside a branch of `parallel`"))
            return None
        return self._leaf(step, place, after, gate)

    def _leaf(self, step: Step, place: Place, after: list[str], gate: str | None) -> str | None:
        kind = self._kind(step, place)
        if kind is None:
            return None
        if step.id is None:
            self.missing(place, "the step has no `id`")
            return None
        node = Node(step.id, kind, place, step, self._needs(step, place, after, gate), gate)
        return self._add(node, end=step.id)

    def _parallel(self, step: Step, place: Place, after: list[str], gate: str | None, depth: int) -> str | None:
        own_keys = {"parallel", *_SHARED_KEYS}
        for key in sorted(_keys(step) - own_keys):
            self.problems.append(((*place, key), f"a `parallel` has no {key!r}; set it on the steps inside"))
        self.containers += 1
        name = step.id or f"parallel.{self.containers}"  # no user's id has a dot
        needs = self._needs(step, place, after, gate)
        if step.when is not None or step.run_if is not None:
            name = self._add(Node(name, "gate", place, step, needs, gate), end=f"{name}.end")
            needs, gate = [name], name
        elif step.id is not None:
            self._claim_id(step.id, place, f"{name}.end")
        before = len(self.nodes)
        for at, branch in enumerate(step.parallel or ()):
            self._branch(branch, (*place, "parallel", at), needs, gate, depth + 1)
        inside = list(self.nodes.values())[before:]
        needed = {self.resolve(need) for node in inside for need in node.needs}
        tails = [node.id for node in inside if node.id not in needed]
        join = Node(f"{name}.end", "join", place, None, tails or needs, gate)
        self.nodes[join.id] = join
        return join.id

    def _branch(self, branch: Step, place: Place, after: list[str], gate: str | None, depth: int) -> None:
        if branch.steps is not None:
            for key in sorted(_keys(branch) - {"steps", "description"}):
                self.problems.append(((*place, key), f"a branch with `steps` has no {key!r}; set it on its steps"))
            self.block(branch.steps, (*place, "steps"), after, gate, depth)
        else:
            self._step(branch, place, after, gate, depth)

    def _kind(self, step: Step, place: Place) -> StepKind | None:
        has_agent = step.agent is not None or step.capability is not None
        if step.set is not None and (has_agent or step.foreach is not None):
            self.problems.append((place, "`set` stands alone: it has no agent and no foreach"))
            return None
        if step.set is not None:
            return "set"
        if not has_agent:
            self.missing(place, "the step does nothing: give it `agent`, `capability`, `set` or `parallel`")
            return None
        if step.agent is not None and step.capability is not None:
            self.problems.append((place, "`agent` and `capability` exclude each other"))
            return None
        return "foreach" if step.foreach is not None else "task"

    def _needs(self, step: Step, place: Place, after: list[str], gate: str | None) -> list[str]:
        """As written, or what is above. Written needs are resolved later, when all ids are known."""
        if step.needs is None:
            return list(after)
        self.written.append((place, step.needs))
        return [*map(Written, step.needs), *([gate] if gate else [])]

    def resolve(self, need: str) -> str:
        """The node that is meant; a written need that nothing answers to stays as it is."""
        return self.ends.get(need, need) if isinstance(need, Written) else need

    def _add(self, node: Node, *, end: str) -> str:
        if not self._claim_id(node.id, node.place, end):
            node.id += f"@{len(self.nodes)}"  # it will not run, but its other mistakes are found
        self.nodes[node.id] = node
        return node.id

    def _claim_id(self, step_id: str, place: Place, end: str) -> bool:
        if step_id in self.ends:
            first = self.loaded.lines.line(self.places[step_id])
            message = f"the id {step_id!r} is there twice; the first one is in line {first}"
            self.problems.append(((*place, "id"), message))
            return False
        self.ends[step_id] = end
        self.places[step_id] = place
        return True


def inline_joins(steps: list[PlanStep]) -> list[PlanStep]:
    """Take out joins that at most one step needs, where its `run_if` does not ask how the join ended.

    A join with several followers stays: without it every tail would be linked with every head.
    """
    by_id = {step.id: step for step in steps}
    followers: dict[str, list[str]] = {step.id: [] for step in steps}
    for step in steps:
        for need in step.needs:
            followers[need].append(step.id)
    removed: dict[str, tuple[str, ...]] = {}
    for step in steps:
        after = [by_id[name] for name in followers[step.id]]
        plain = all(follower.run_if in ("none_failed", "all_done", "always") for follower in after)
        if step.kind == "join" and len(after) <= 1 and plain and not any(f.kind == "join" for f in after):
            removed[step.id] = step.needs
    return [_without(step, removed) for step in steps if step.id not in removed]


def _without(step: PlanStep, removed: dict[str, tuple[str, ...]]) -> PlanStep:
    needs = list(step.needs)
    while any(need in removed for need in needs):
        needs = [deeper for need in needs for deeper in removed.get(need, (need,))]
    return replace(step, needs=tuple(dict.fromkeys(needs)))


def _keys(step: Step) -> set[str]:
    return {Step.model_fields[name].alias or name for name in step.model_fields_set}
