"""From a loaded file to a plan: lay out the graph, resolve what steps need, check everything, put it in order.

Every check adds to one list of problems; only a file without any becomes a plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any

from orchestrator.errors import WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.catalog import Catalog
from orchestrator.workflow.graph import Graph, Node, inline_joins
from orchestrator.workflow.inputs import check_declaration, input_schema
from orchestrator.workflow.loader import LoadedWorkflow, Place
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.plan import ForEach, Plan, PlanStep, Retry
from orchestrator.workflow.reads import Reader
from orchestrator.workflow.routes import resolve_agent
from orchestrator.workflow.spec import RetryPolicy, Step

Json = Any


def compile_workflow(loaded: LoadedWorkflow, *, agents: Catalog | None = None, limits: Settings | None = None) -> Plan:
    """The plan of a workflow.

    Args:
        agents: those that are known, to check agents, tasks and parameters against; None: these are not checked.
    Raises:
        WorkflowInvalid: every mistake, with its file and line.
    """
    limits = limits or Settings()
    graph = Graph(loaded, limits.max_nesting)
    graph.block(loaded.spec.steps, ("steps",), [], None, 1)
    _resolve_needs(graph)
    order = _topological(graph)
    reader = Reader(graph, order, limits.max_expression_bytes)
    stuck = [node for node in graph.nodes.values() if node.id not in reader.upstream]
    steps = [_plan_step(node, graph, agents) for node in (*order, *stuck)]
    steps = [reader.read(step, graph.nodes[step.id]) for step in steps]
    output_reads = reader.outputs(loaded.spec.outputs)
    for name, declared in loaded.spec.inputs.items():
        graph.problems += [(("inputs", name, *place), text) for place, text in check_declaration(declared)]
    if len(graph.nodes) > limits.max_steps:
        graph.problems.append((("steps",), f"has {len(graph.nodes):,} steps; the limit is {limits.max_steps:,}"))
    found = [*loaded.problems, *(loaded.problem(place, message) for place, message in dict.fromkeys(graph.problems))]
    if found:
        raise WorkflowInvalid(sorted(found, key=lambda problem: problem.line))
    spec = loaded.spec
    return Plan(
        name=spec.name,
        version=spec.version,
        steps=tuple(_linked(inline_joins(steps))),
        outputs=spec.outputs,
        output_reads=output_reads,
        inputs_schema={name: input_schema(declared) for name, declared in spec.inputs.items()},
        priority=spec.priority,
        timeout_ms=spec.timeout,
    )


def _resolve_needs(graph: Graph) -> None:
    """Needs that the file writes name steps and containers; a container stands for its end."""
    for place, written in graph.written:
        _check_written(place, written, graph)
    for node in graph.nodes.values():
        node.needs = list(dict.fromkeys(end for need in node.needs if (end := graph.resolve(need)) in graph.nodes))
        if node.spec is not None and node.spec.run_if in ("all_success", "any_success") and not node.needs:
            message = f"{node.spec.run_if!r} asks how the steps in `needs` ended, and the step needs none"
            graph.problems.append(((*node.place, "run_if"), message))


def _check_written(place: Place, written: list[str], graph: Graph) -> None:
    for at, need in enumerate(written):
        if need not in graph.ends:
            near = did_you_mean(need, graph.ends) or f"; there is {listed(graph.ends)}"
            graph.problems.append(((*place, "needs", at), f"no step {need!r}{near}"))
        elif written.index(need) != at:
            graph.problems.append(((*place, "needs", at), f"needs {need!r} twice"))


def _topological(graph: Graph) -> list[Node]:
    """File order, as far as the needs allow (Kahn's algorithm). A cycle is a problem; what it stops is left out."""
    waiting = {node.id: len(node.needs) for node in graph.nodes.values()}
    followers: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for node in graph.nodes.values():
        for need in node.needs:
            followers[need].append(node.id)
    names = list(graph.nodes)
    numbers = {name: number for number, name in enumerate(names)}
    ready = [numbers[name] for name, count in waiting.items() if count == 0]
    order: list[Node] = []
    while ready:
        name = names[heappop(ready)]
        order.append(graph.nodes[name])
        for follower in followers[name]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heappush(ready, numbers[follower])
    if len(order) < len(graph.nodes):
        stuck = {name for name, count in waiting.items() if count > 0}
        cycle = _cycle(graph, stuck)
        shown = " -> ".join(name.removesuffix(".end") for name in reversed(cycle))
        graph.problems.append((graph.nodes[cycle[0]].place, f"the steps need each other: {shown}"))
    return order


def _cycle(graph: Graph, stuck: set[str]) -> list[str]:
    """One cycle among steps that can never start, each needing the next one, the first named again last."""
    path = [next(name for name in graph.nodes if name in stuck)]
    while path.count(path[-1]) == 1:
        path.append(next(need for need in graph.nodes[path[-1]].needs if need in stuck))
    return path[path.index(path[-1]) :]


def _plan_step(node: Node, graph: Graph, agents: Catalog | None) -> PlanStep:
    needs = tuple(node.needs)
    spec = node.spec
    if spec is None:
        return PlanStep(node.id, "join", needs=needs, gate=node.gate)
    if node.kind == "set":
        _refuse_agent_keys(node, spec, graph)
    agent, task = resolve_agent(node, spec, graph, agents)
    defaults = graph.loaded.spec.defaults
    has_agent = node.kind in ("task", "foreach")
    return PlanStep(
        id=node.id,
        kind=node.kind,
        needs=needs,
        run_if=spec.run_if or "none_failed",
        gate=node.gate,
        when=_as_expression(spec.when),
        agent=agent,
        capability=spec.capability if node.kind == "task" else None,
        task=task,
        params=spec.with_ or {},
        values=spec.set,
        foreach=_foreach(node, spec, graph),
        retry=_retry(spec.retry or defaults.retry) if has_agent else Retry(),
        timeout_ms=(spec.timeout or defaults.timeout) if has_agent else None,
        on_error=spec.on_error or "fail",
        priority=spec.priority,
    )


def _refuse_agent_keys(node: Node, spec: Step, graph: Graph) -> None:
    for key in ("task", "with", "retry", "timeout", "priority"):
        if (key if key != "with" else "with_") in spec.model_fields_set:
            graph.problems.append(((*node.place, key), f"`set` runs on no agent, so it has no {key!r}"))


def _foreach(node: Node, spec: Step, graph: Graph) -> ForEach | None:
    if node.kind == "foreach":
        return ForEach(spec.foreach, spec.max_parallel, spec.on_item_error or "fail")
    for key in ("max_parallel", "on_item_error"):
        if key in spec.model_fields_set:
            graph.problems.append(((*node.place, key), f"{key!r} belongs to a `foreach`, and the step has none"))
    return None


def _as_expression(when: str | bool | None) -> str | None:
    return f"${{{{ {str(when).lower()} }}}}" if isinstance(when, bool) else when


def _retry(policy: RetryPolicy | None) -> Retry:
    if policy is None:
        return Retry()
    return Retry(
        max_attempts=policy.max_attempts,
        delay_ms=policy.delay,
        backoff=policy.backoff,
        max_delay_ms=policy.max_delay,
        jitter=policy.jitter,
        give_up_on=tuple(policy.give_up_on),
    )


def _linked(steps: Iterable[PlanStep]) -> list[PlanStep]:
    """The steps with `next` filled in."""
    steps = list(steps)
    followers: dict[str, list[str]] = {step.id: [] for step in steps}
    for step in steps:
        for need in step.needs:
            followers[need].append(step.id)
    return [replace(step, next=tuple(followers[step.id])) for step in steps]
