"""What the expressions of a step read, and whether they may: a step reads only what is upstream of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.workflow.expressions import alone, check, references
from orchestrator.workflow.graph import Graph, Node
from orchestrator.workflow.loader import Place
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.plan import PlanStep

Json = Any

_ALWAYS = frozenset({"inputs", "steps", "run"})
_ITEM = frozenset({"item", "index"})
_SECRETS = frozenset({"secrets"})


class Reader:
    """Checks the expressions of one workflow and fills in what each step reads.

    `upstream` maps each step that can start to what must be done before it, as bits, so that 10,000 steps stay small
    and fast.
    """

    def __init__(self, graph: Graph, order: list[Node], max_expression_bytes: int) -> None:
        self._graph = graph
        self._max_bytes = max_expression_bytes
        self._numbers = {name: number for number, name in enumerate(graph.nodes)}
        self.upstream: dict[str, int] = {}
        for node in order:
            self.upstream[node.id] = 0
            for need in node.needs:
                self.upstream[node.id] |= self.upstream[need] | 1 << self._numbers[need]

    def read(self, step: PlanStep, node: Node) -> PlanStep:
        """The step with `reads` and `reads_inputs`."""
        inside = _ALWAYS | _SECRETS | (_ITEM if step.kind == "foreach" else frozenset())
        parts: list[tuple[Place, Json, frozenset[str]]] = [
            (("when",), step.when, _ALWAYS),
            (("foreach",), step.foreach.items if step.foreach else None, _ALWAYS),
            *((("set", name), value, _ALWAYS) for name, value in (step.values or {}).items()),
            *((("with", name), value, inside) for name, value in step.params.items()),
        ]
        self._check_alone(step, node)
        steps: dict[str, None] = {}
        inputs: dict[str, None] | None = {}
        for place, template, allowed in parts:
            found = self._check(template, (*node.place, *place), allowed, step.id)
            steps |= dict.fromkeys(sorted(found.steps & self._graph.nodes.keys()))
            inputs = None if inputs is None or found.inputs is None else inputs | dict.fromkeys(sorted(found.inputs))
        return replace(step, reads=tuple(steps), reads_inputs=None if inputs is None else tuple(inputs))

    def _check_alone(self, step: PlanStep, node: Node) -> None:
        """A condition, or the items of a foreach, is one expression: among other text it would become text."""
        places = (("when", step.when), ("foreach", step.foreach.items if step.foreach else None))
        for key, text in places:
            if isinstance(text, str) and not alone(text) and not check(text):
                message = "must be one expression and nothing else: ${{ ... }}"
                self._graph.problems.append(((*node.place, key), message))

    def outputs(self, outputs: dict[str, Json] | None) -> tuple[str, ...]:
        """The steps that the workflow's outputs read."""
        steps: dict[str, None] = {}
        for name, template in (outputs or {}).items():
            found = self._check(template, ("outputs", name), _ALWAYS, None)
            steps |= dict.fromkeys(sorted(found.steps & self._graph.nodes.keys()))
        return tuple(steps)

    def _check(self, template: Json, place: Place, allowed: frozenset[str], step_id: str | None) -> Any:
        found = references(template)
        problems = check(template, max_bytes=self._max_bytes)
        problems += [self._wrong_name(name) for name in sorted(found.names - allowed)]
        declared = self._graph.loaded.spec.inputs
        for name in sorted((found.inputs or frozenset()) - declared.keys()):
            has = f"; there is {listed(declared)}" if declared else "; the workflow declares none"
            problems.append(f"no input {name!r}{did_you_mean(name, declared) or has}")
        problems += [text for other in sorted(found.steps) if (text := self._wrong_step(other, step_id))]
        self._graph.problems += [(place, text) for text in problems]
        return found

    def _wrong_name(self, name: str) -> str:
        if name in _ITEM:
            return f"{name!r} exists only under `with` of a step with `foreach`"
        return f"{name!r} may be read only under `with`"

    def _wrong_step(self, other: str, step_id: str | None) -> str | None:
        graph = self._graph
        if other not in graph.ends:
            return f"no step {other!r}{did_you_mean(other, graph.ends) or f'; there is {listed(graph.ends)}'}"
        node = graph.nodes.get(other)
        if node is None or node.kind == "gate":
            return f"{other!r} is a `parallel` and has no output of its own; read the steps inside it"
        if step_id is None or step_id not in self.upstream:
            return None
        if other == step_id:
            return "a step cannot read itself"
        if self.upstream[step_id] >> self._numbers[other] & 1:
            return None
        if self.upstream.get(other, 0) >> self._numbers[step_id] & 1:
            return f"step {other!r} runs only after this step"
        above = [need.removesuffix(".end") for need in graph.nodes[step_id].needs]
        needs = [need for need in above if need in graph.ends]
        return f"step {other!r} may not be done yet: it runs beside this step; write needs: [{listed([*needs, other])}]"
