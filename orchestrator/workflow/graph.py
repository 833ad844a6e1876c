"""From nested steps to a flat graph: who needs whom, which gate is around a step, where a container ends.

"The step above" is the previous sibling. A `parallel`, a `switch` or a group of `steps` becomes a join at its end, and
a gate at its start when it has a `when` or a `run_if`; a `switch` has one gate more for each branch. Joins that nobody
needs as a node are taken out again by `joins.py`. A `loop`, and a `foreach` over more than one agent's task, is one
node with a body: a graph of its own that runs once per round or item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

from orchestrator.workflow.loader import LoadedWorkflow, Place
from orchestrator.workflow.plan import Phase, StepKind
from orchestrator.workflow.spec import Step

_SHARED = frozenset({"id", "needs", "when", "run_if", "description"})
_AT_AGENT = frozenset({
    "agent", "capability", "task", "with", "retry", "timeout", "fallback", "priority", "limits", "cache",
})  # fmt: skip
_EACH = frozenset({"foreach", "max_parallel", "on_item_error", "enough", "rest"})
#: What a step may say besides what every step may, by what it is.
_KEYS: dict[str, frozenset[str]] = {
    "agent": _AT_AGENT | _EACH | {"on_error", "compensate", "output_schema"},
    "workflow": _EACH | {"workflow", "with", "retry", "on_error", "compensate", "priority"},
    "set": frozenset({"set", "on_error"}),
    "wait": frozenset({"wait", "on_error"}),
    "end": frozenset({"end"}),
    "parallel": frozenset({"parallel", "enough", "rest"}),
    "switch": frozenset({"switch"}),
    "loop": frozenset({"loop", "steps", "on_error"}),
    "steps": frozenset({"steps"}),
    "foreach": _EACH | {"steps", "on_error"},
}
_HINTS = {
    "parallel": "; set it on the steps inside",
    "switch": "; set it on the steps inside",
    "steps": "; set it on the steps inside",
    "set": ": it runs on no agent",
    "wait": ": it runs on no agent",
    "end": ": it runs on no agent",
}


class Written(str):
    """A need as the file writes it: the id of a step or of a container, whose gate has the same id."""


@dataclass(frozen=True, slots=True)
class Around:
    """Where a step stands: the gate and the containers around it (see `PlanStep`), and how deep it is nested.

    `start` is what a step waits for that writes `needs` of its own: the gate, or a node at the start of a container
    that has `needs`.
    """

    phase: Phase = "main"
    gate: str | None = None
    start: str | None = None
    scope: str | None = None
    each: str | None = None
    within: str | None = None
    depth: int = 0
    nesting: int = 1

    def inside(self, node: Node) -> Around:
        """The body of a loop or a foreach."""
        looped = node.kind == "loop"
        return replace(
            self,
            gate=None,
            start=None,
            scope=node.id,
            each=self.each if looped else node.id,
            within=node.id if looped else self.within,
            depth=self.depth + (not looped),
            nesting=self.nesting + 1,
        )


@dataclass
class Node:
    """One node while the graph is built. `spec` is None for a node that the file does not write."""

    id: str
    kind: StepKind
    place: Place
    spec: Step | None
    needs: list[str]
    around: Around
    branch: int | None = None
    #: of a loop or foreach with a body: its end, and the step whose output is that of an item
    end: str | None = None
    last: str | None = None
    #: of the end of a parallel: what is inside, of which `spec.enough` branches have to succeed
    inside: tuple[str, ...] = ()
    #: the only step of a foreach: it has the keys of the step that are not about the items
    only: bool = False


@dataclass
class Graph:
    """All nodes in file order. `ends` maps what a file may need to the node that stands for its end, `outline` each
    container to its branches: for each, what is right inside it."""

    loaded: LoadedWorkflow
    max_nesting: int
    nodes: dict[str, Node] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    outline: dict[str, list[list[str]]] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    written: list[tuple[Place, list[str], Around]] = field(default_factory=list)
    containers: int = 0
    _branch_now: list[str] = field(default_factory=list)

    def missing(self, place: Place, message: str) -> None:
        """Something is not there; no news if the schema refused a key of that place, which may have been meant."""
        if ".".join(map(str, place)) not in self._refused:
            self.problems.append((place, message))

    @cached_property
    def _refused(self) -> frozenset[str]:
        return frozenset(problem.path.rpartition(".")[0] for problem in self.loaded.problems)

    def block(self, steps: Iterable[Step], place: Place, after: list[str], around: Around) -> list[str]:
        """Lay out a sequence; its first step comes after the given nodes. Returns what comes after it needs."""
        for at, step in enumerate(steps):
            end = self._step(step, (*place, at), after, around)
            after = [end] if end else after
        return after

    def _step(self, step: Step, place: Place, after: list[str], around: Around) -> str | None:
        if around.nesting > self.max_nesting:
            self.problems.append((place, f"containers are nested deeper than {self.max_nesting}"))
            return None
        what = self._what(step, place)
        if what is None:
            return None
        for key in sorted(_keys(step) - _KEYS[what] - _SHARED):
            self.problems.append(((*place, key), f"a `{what}` has no {key!r}{_HINTS.get(what, '')}"))
        if what in ("parallel", "switch", "steps"):
            return self._group(what, step, place, after, around)
        if what in ("loop", "foreach") or (what in ("agent", "workflow") and self._has_body(step)):
            return self._container(step, place, after, around)
        if step.foreach is None:
            self._refuse_each(step, place)
        kind: StepKind = "foreach" if step.foreach is not None else _LEAVES[what]
        return self._leaf(step, kind, place, after, around)

    def _what(self, step: Step, place: Place) -> str | None:
        """What a step is. Two things at once, or none, is a mistake."""
        has = [
            name
            for name in ("set", "wait", "end", "workflow", "parallel", "switch", "loop")
            if getattr(step, name) is not None
        ]
        if step.agent is not None or step.capability is not None:
            has.append("agent" if step.agent is not None else "capability")
        if step.steps is not None and "loop" not in has:
            has.append("steps")
        if step.agent is not None and step.capability is not None:
            self.problems.append((place, "`agent` and `capability` exclude each other"))
            return None
        if len(has) > 1:
            self.problems.append(
                (place, f"{' and '.join(f'`{name}`' for name in has)} exclude each other: a step is one thing")
            )
            return None
        if not has:
            some = "`agent`, `capability`, `set`, `wait`, `end`, `workflow`, `parallel`, `switch`, `loop` or `steps`"
            self.missing(place, f"the step does nothing: give it {some}")
            return None
        if has == ["loop"] and step.steps is None:
            self.missing(place, "a `loop` needs `steps`")
            return None
        if step.foreach is not None and has[0] in ("set", "wait", "end", "parallel", "switch", "loop"):
            self.problems.append(
                (place, f"`foreach` goes with an agent, a `workflow` or `steps`; put the `{has[0]}` under `steps`")
            )
            return None
        if has == ["steps"]:
            return "foreach" if step.foreach is not None else "steps"
        return "agent" if has[0] == "capability" else has[0]

    @staticmethod
    def _has_body(step: Step) -> bool:
        """Whether each item of the foreach has something to decide, so that it is more than a message."""
        dynamic = any("${{" in limit.key for limit in step.limits or ())
        decided = step.workflow is not None or step.capability is not None or step.cache is not None or dynamic
        return step.foreach is not None and decided

    def _refuse_each(self, step: Step, place: Place) -> None:
        for key in ("max_parallel", "on_item_error", "enough", "rest"):
            if key in step.model_fields_set:
                self.problems.append(((*place, key), f"{key!r} belongs to a `foreach`, and the step has none"))

    def _leaf(self, step: Step, kind: StepKind, place: Place, after: list[str], around: Around) -> str | None:
        if step.id is None:
            self.missing(place, "the step has no `id`")
            return None
        node = Node(step.id, kind, place, step, self._needs(step, place, after, around), around)
        return self._add(node, end=step.id)

    def _group(self, what: str, step: Step, place: Place, after: list[str], around: Around) -> str:
        self.containers += 1
        name = step.id or f"{what}.{self.containers}"  # no user's id has a dot
        needs = self._needs(step, place, after, around)
        before = len(self.nodes)
        if what == "switch":
            self._switch(name, step, place, needs, around)
        else:
            if step.when is not None or step.run_if is not None:
                name = self._add(Node(name, "gate", place, step, needs, around), end=f"{name}.end")
                needs, around = [name], replace(around, gate=name, start=name)
            else:
                self._branch_now.append(name)
                if step.id is not None:
                    self._claim_id(step.id, place, f"{name}.end")
                if step.needs:
                    start = Node(f"{name}.start", "join", place, None, needs, around)
                    self.nodes[start.id] = start
                    needs, around = [start.id], replace(around, start=start.id)
            deeper = replace(around, nesting=around.nesting + 1)
            if what == "parallel":
                self._branches(name, step, place, needs, deeper)
            else:
                with self._branch_of(name):
                    self.block(step.steps or (), (*place, "steps"), needs, deeper)
        inside = [node for node in list(self.nodes.values())[before:] if node.around.scope == around.scope]
        join = Node(f"{name}.end", "join", place, None, self._tails(inside) or needs, around)
        if step.enough is not None:
            self._check_enough(step, place)
            join = replace(join, spec=step, inside=tuple(node.id for node in inside if node.id != name))
        elif step.rest is not None:
            self.problems.append(((*place, "rest"), "'rest' goes with `enough`"))
        self.nodes[join.id] = join
        return join.id

    def _branches(self, name: str, step: Step, place: Place, needs: list[str], around: Around) -> None:
        for at, branch in enumerate(step.parallel or ()):
            before = len(self.nodes)
            with self._branch_of(name):
                self._branch(branch, (*place, "parallel", at), needs, around)
            inside = [node for node in list(self.nodes.values())[before:] if node.around.scope == around.scope]
            if step.enough is not None and len(tails := self._tails(inside)) > 1:
                # Branches are counted, so each has one end.
                end = Node(f"{name}.{at}.end", "join", (*place, "parallel", at), None, tails, around)
                self.nodes[end.id] = end

    def _check_enough(self, step: Step, place: Place) -> None:
        count = len(step.parallel or ())
        if step.enough is not None and step.enough > count:
            message = f"{step.enough} branches are to be enough, and there are {count}"
            self.problems.append(((*place, "enough"), message))

    def _switch(self, name: str, step: Step, place: Place, needs: list[str], around: Around) -> None:
        """One node that decides, and a gate for each branch."""
        name = self._add(Node(name, "switch", place, step, needs, around), end=f"{name}.end")
        branches = step.switch or []
        for at, branch in enumerate(branches):
            here = (*place, "switch", at)
            if (branch.when is None) == (branch.default is None):
                self.missing(here, "a branch needs either `when` or `default: true`")
            if branch.default and at < len(branches) - 1:
                self.problems.append((here, "`default` is the last branch; those after it are never reached"))
            gate = Node(f"{name}.{at}", "branch", here, None, [name], replace(around, gate=name), branch=at)
            self.nodes[gate.id] = gate
            deeper = replace(around, gate=gate.id, start=gate.id, nesting=around.nesting + 1)
            with self._branch_of(name):
                self.block(branch.steps, (*here, "steps"), [gate.id], deeper)

    def _tails(self, inside: Sequence[Node]) -> list[str]:
        """Those of the nodes that none of them needs."""
        needed = {self.resolve(need) for node in inside for need in node.needs}
        return [node.id for node in inside if node.id not in needed]

    def _branch(self, branch: Step, place: Place, after: list[str], around: Around) -> None:
        keys = _keys(branch)
        if branch.steps is not None and keys <= {"steps", "description"}:
            self.block(branch.steps, (*place, "steps"), after, around)
        else:
            self._step(branch, place, after, around)

    def _container(self, step: Step, place: Place, after: list[str], around: Around) -> str | None:
        """A loop, or a foreach with a body."""
        if step.id is None:
            self.missing(place, f"a `{'loop' if step.loop else 'foreach'}` needs an `id`")
            return None
        kind: StepKind = "loop" if step.loop is not None else "foreach"
        node = Node(step.id, kind, place, step, self._needs(step, place, after, around), around)
        self._add(node, end=step.id)
        inner = around.inside(node)
        before = len(self.nodes)
        if step.steps is not None:
            with self._branch_of(node.id):
                self.block(step.steps, (*place, "steps"), [], inner)
            node.last = step.steps[-1].id
        else:
            leaf: StepKind = "workflow" if step.workflow is not None else "task"
            only = Node(f"{node.id}.item", leaf, place, step, [], inner, only=True)
            self.nodes[only.id] = only
            node.last = only.id
        inside = [found for found in list(self.nodes.values())[before:] if found.around.scope == node.id]
        # A round, or an item, is over when also those branches are that a race has left to finish.
        races = [found for found in inside if found.kind == "join" and found.spec and found.spec.rest == "finish"]
        left = [need for race in races for need in race.needs]
        end = Node(f"{node.id}.end", "end", place, None, [*self._tails(inside), *left], inner)
        self.nodes[end.id] = end
        node.end = end.id
        return node.id

    def _needs(self, step: Step, place: Place, after: list[str], around: Around) -> list[str]:
        """As written, or what is above. Written needs are resolved later, when all ids are known."""
        if step.needs is None:
            return list(after)
        self.written.append((place, step.needs, around))
        return [*map(Written, step.needs), *([around.start] if around.start else [])]

    def resolve(self, need: str) -> str:
        """The node that is meant; a written need that nothing answers to stays as it is."""
        return self.ends.get(need, need) if isinstance(need, Written) else need

    @cached_property
    def bodies(self) -> dict[str, list[str]]:
        """What is inside each loop or foreach and runs once per round or item, loops inside included."""
        found: dict[str, list[str]] = {}
        for node in self.nodes.values():
            scope = node.around.scope
            while scope is not None:
                container = self.nodes[scope]
                if node.around.depth != container.around.depth + (container.kind == "foreach"):
                    break  # inside a foreach, so it is not of the same depth as what is further out
                found.setdefault(scope, []).append(node.id)
                scope = container.around.scope
        return found

    @contextmanager
    def _branch_of(self, container: str) -> Iterator[None]:
        """What is laid out meanwhile is right inside one branch of a container."""
        outer, self._branch_now = self._branch_now, []
        self.outline.setdefault(container, []).append(self._branch_now)
        yield
        self._branch_now = outer

    def _add(self, node: Node, *, end: str) -> str:
        if not self._claim_id(node.id, node.place, end):
            node.id += f"@{len(self.nodes)}"  # it will not run, but its other mistakes are found
        self.nodes[node.id] = node
        self._branch_now.append(node.id)
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


_LEAVES: dict[str, StepKind] = {"agent": "task", "workflow": "workflow", "set": "set", "wait": "wait", "end": "stop"}


def before_of(node: Node, graph: Graph) -> list[str]:
    """What is laid out before a node: what it needs, the ends of the bodies of those, and the container it is first in.

    None of the ends of bodies has to be done before it in a run: the container's own end says so.
    """
    found = list(node.needs)
    found += [end for need in node.needs if (end := graph.nodes[need].end)]
    if not node.needs and node.around.scope is not None:
        found.append(node.around.scope)
    return found


def _keys(step: Step) -> set[str]:
    return {Step.model_fields[name].alias or name for name in step.model_fields_set}
