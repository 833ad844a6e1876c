"""What the expressions of a step read, and whether they may: a step reads only what is upstream of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.workflow.expressions import References, alone, check, references
from orchestrator.workflow.graph import Around, Graph, Node, before_of
from orchestrator.workflow.loader import Place
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.plan import Phase, PlanStep
from orchestrator.workflow.schemas import unknown_field

Json = Any
Schemas = dict[str, dict[str, Json]]
_Part = tuple[Place, Json, frozenset[str], str | None]

_ALWAYS = frozenset({"inputs", "steps", "run"})
_ITEM = frozenset({"item", "index"})
_ROUND = frozenset({"round"})
_SECRETS = frozenset({"secrets"})
_ON_AGENT = ("task", "foreach")
_PHASES: tuple[Phase, ...] = ("main", "on_failure", "finally")


class Reader:
    """Checks the expressions of one workflow and fills in what each step reads.

    `upstream` maps each step that can start to what must be done before it, as bits, so that 10,000 steps stay small
    and fast.

    Args:
        schemas: step id -> JSON Schema of its output, where that is known.
    """

    def __init__(self, graph: Graph, order: list[Node], max_expression_bytes: int, schemas: Schemas) -> None:
        self._graph = graph
        self._max_bytes = max_expression_bytes
        self._schemas = schemas
        self._numbers = {name: number for number, name in enumerate(graph.nodes)}
        self.upstream: dict[str, int] = {}
        for node in order:
            bits = 0
            for other in before_of(node, graph):
                bits |= self.upstream[other]
                if other != node.around.scope:
                    bits |= 1 << self._numbers[other]
            self.upstream[node.id] = bits

    def read(self, step: PlanStep, node: Node) -> PlanStep:
        """The step with `reads`, `reads_inputs` and `reads_previous`."""
        here = _ALWAYS | (_ITEM if step.each else frozenset()) | (_ROUND if step.within else frozenset())
        inside = here | (_ITEM if step.kind == "foreach" else frozenset())
        if step.kind in _ON_AGENT:
            inside |= _SECRETS
        wait = step.wait
        parts: list[_Part] = [
            (("when",), step.when, here, None),
            (("foreach",), step.foreach.items if step.foreach else None, here, None),
            (("loop", "until"), step.loop.until if step.loop else None, here | _ROUND, node.end),
            (("end", "message"), step.end.message if step.end else None, here, None),
            (("wait", "for"), wait.duration if wait else None, here, None),
            (("wait", "until"), wait.until if wait else None, here, None),
            (("cache", "key"), step.cache.key if step.cache else None, here, None),
            *((("switch", at, "when"), when, here, None) for at, when in enumerate(step.conditions)),
            *((("limits", at, "key"), limit.key, here, None) for at, limit in enumerate(step.limits)),
            *((("set", name), value, here, None) for name, value in (step.values or {}).items()),
            *((("with", name), value, inside, None) for name, value in step.params.items()),
        ]
        self._check_alone(step, node)
        if step.kind not in _ON_AGENT:
            return self._read(step, node.place, parts)
        attempt = [part for part in parts if part[0][0] == "with"]
        asked = self._read(step, node.place, [part for part in parts if part[0][0] != "with"])
        read = self._read(step, node.place, attempt)
        rounds = [part.reads_previous for part in (asked, read) if part.reads_previous is not None]
        previous = tuple(dict.fromkeys(name for part in rounds for name in part)) if rounds else None
        return replace(read, reads_previous=previous, asks=asked.reads, asks_inputs=asked.reads_inputs)

    def read_compensation(self, step: PlanStep, node: Node) -> PlanStep:
        """What a compensation reads: what its step may read, and the step itself."""
        allowed = _ALWAYS | _SECRETS | (_ITEM if step.each else frozenset())
        place = (*node.place, "compensate")
        return self._read(step, place, [(("with", name), value, allowed, None) for name, value in step.params.items()])

    def _read(self, step: PlanStep, place: Place, parts: list[_Part]) -> PlanStep:
        steps: dict[str, None] = {}
        previous: dict[str, None] = {}
        inputs: dict[str, None] | None = {}
        rounds = False
        for where, template, allowed, standing in parts:
            found = self._check(template, (*place, *where), allowed, standing or step.undoes or step.id, step)
            steps |= dict.fromkeys(sorted(found.steps & self._graph.nodes.keys()))
            inputs = None if inputs is None or found.inputs is None else inputs | dict.fromkeys(sorted(found.inputs))
            rounds = rounds or "round" in found.names
            previous |= dict.fromkeys(self._previous(found, step))
        return replace(
            step,
            reads=tuple(steps),
            reads_inputs=None if inputs is None else tuple(inputs),
            reads_previous=tuple(previous) if rounds else None,
        )

    def _previous(self, found: References, step: PlanStep) -> list[str]:
        """The steps of the round before that a step reads."""
        loop = step.id if step.loop else step.within
        if loop is None:
            return []
        body = [name for name in self._graph.bodies.get(loop, ()) if "." not in name]
        return [name for name in body if found.previous is None or name in found.previous]

    def with_previous(self, steps: list[PlanStep]) -> list[PlanStep]:
        """The steps, each loop with those of its steps that are read of the round before."""
        wanted: dict[str, dict[str, None]] = {}
        for step in steps:
            loop = step.id if step.loop else step.within
            if loop is not None:
                wanted.setdefault(loop, {}).update(dict.fromkeys(step.reads_previous or ()))
        return [
            replace(step, loop=replace(step.loop, previous=tuple(wanted.get(step.id, ())))) if step.loop else step
            for step in steps
        ]

    def _check_alone(self, step: PlanStep, node: Node) -> None:
        """A condition, or the items of a foreach, is one expression: among other text it would become text."""
        places: list[tuple[Place, Json]] = [
            (("when",), step.when),
            (("foreach",), step.foreach.items if step.foreach else None),
            (("loop", "until"), step.loop.until if step.loop else None),
            *((("switch", at, "when"), when) for at, when in enumerate(step.conditions)),
        ]
        for place, text in places:
            if isinstance(text, str) and not alone(text) and not check(text):
                message = "must be one expression and nothing else: ${{ ... }}"
                self._graph.problems.append(((*node.place, *place), message))

    def outputs(self, outputs: dict[str, Json] | None) -> tuple[str, ...]:
        """The steps that the workflow's outputs read."""
        steps: dict[str, None] = {}
        for name, template in (outputs or {}).items():
            found = self._check(template, ("outputs", name), _ALWAYS, None, None)
            steps |= dict.fromkeys(sorted(found.steps & self._graph.nodes.keys()))
        return tuple(steps)

    def _check(
        self, template: Json, place: Place, allowed: frozenset[str], standing: str | None, step: PlanStep | None
    ) -> References:
        """Check one template. `standing`: the node that is reached when it is evaluated; None: the end of the run."""
        found = references(template)
        problems = check(template, max_bytes=self._max_bytes)
        problems += [self._wrong_name(name, step) for name in sorted(found.names - allowed)]
        declared = self._graph.loaded.spec.inputs
        for name in sorted((found.inputs or frozenset()) - declared.keys()):
            has = f"; there is {listed(declared)}" if declared else "; the workflow declares none"
            problems.append(f"no input {name!r}{did_you_mean(name, declared) or has}")
        problems += [text for other in sorted(found.steps) if (text := self._wrong_step(other, standing, step))]
        problems += [text for name in sorted(found.previous or ()) if (text := self._wrong_previous(name, step))]
        for other, *fields in sorted(found.outputs):
            if (schema := self._schema(other, step)) is not None and (text := unknown_field(schema, tuple(fields))):
                problems.append(f"steps.{other}.output: {text}")
        self._graph.problems += [(place, text) for text in problems]
        return found

    def _schema(self, other: str, step: PlanStep | None) -> dict[str, Json] | None:
        schema = self._schemas.get(other)
        node = self._graph.nodes.get(other)
        if step is not None and step.is_undone_as(other):
            return self._schemas.get(step.undoes or "")
        return {"type": "array"} if node is not None and node.kind == "foreach" else schema

    def _wrong_name(self, name: str, step: PlanStep | None) -> str:
        if name in _ITEM:
            return f"{name!r} exists only inside a `foreach`, and under `with` of a step with one"
        if name in _ROUND:
            return "'round' exists only inside a `loop`"
        return f"{name!r} may be read only under `with` of a step that runs on an agent"

    def _wrong_previous(self, name: str, step: PlanStep | None) -> str | None:
        loop = step and (step.id if step.loop else step.within)
        body = [other for other in self._graph.bodies.get(loop or "", ()) if "." not in other]
        if loop is None or name in body:
            return None
        return f"no step {name!r} in the loop {loop!r}{did_you_mean(name, body) or f'; there is {listed(body)}'}"

    def _wrong_step(self, other: str, standing: str | None, step: PlanStep | None) -> str | None:
        graph = self._graph
        if other not in graph.ends:
            return f"no step {other!r}{did_you_mean(other, graph.ends) or f'; there is {listed(graph.ends)}'}"
        node = graph.nodes.get(other)
        if node is None or node.kind in ("gate", "switch"):
            return f"{other!r} only holds other steps and has no output of its own; read the steps inside it"
        around = graph.nodes[standing].around if standing else Around()
        if node.around.each is not None and not self._within(around.each, node.around.each):
            return f"{other!r} is inside the foreach {node.around.each!r}; read steps.{node.around.each}.output, a list"
        if node.around.phase != around.phase:
            if _PHASES.index(node.around.phase) < _PHASES.index(around.phase):
                return None
            return f"step {other!r} is part of `{node.around.phase}`, which has not begun by then"
        if standing is None or standing not in self.upstream or (step and step.is_undone_as(other)):
            return None
        if step and step.loop and standing != step.id and other in graph.bodies.get(step.id, ()):
            return None
        if other == (step.id if step else None):
            return "a step cannot read itself"
        if self.upstream[standing] >> self._numbers[other] & 1:
            return None
        if self._is_around(other, standing):
            return f"{other!r} is around this step, so it is not done yet; read the steps inside it"
        if self.upstream.get(other, 0) >> self._numbers[standing] & 1:
            return f"step {other!r} runs only after this step"
        above = [need.removesuffix(".end") for need in graph.nodes[standing].needs]
        needs = [need for need in above if need in graph.ends]
        return f"step {other!r} may not be done yet: it runs beside this step; write needs: [{listed([*needs, other])}]"

    def _within(self, each: str | None, outer: str) -> bool:
        """Whether a foreach is `outer` or inside it."""
        while each is not None and each != outer:
            each = self._graph.nodes[each].around.each
        return each is not None

    def _is_around(self, other: str, standing: str) -> bool:
        scope = self._graph.nodes[standing].around.scope
        while scope is not None and scope != other:
            scope = self._graph.nodes[scope].around.scope
        return scope is not None
