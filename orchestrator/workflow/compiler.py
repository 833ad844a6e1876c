"""From a loaded file to a plan: lay out the graph, resolve what steps need, check everything, put it in order.

Every check adds to one list of problems; only a file without any becomes a plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from orchestrator.errors import WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.catalog import Catalog
from orchestrator.workflow.children import Children, Known
from orchestrator.workflow.effort import bounded
from orchestrator.workflow.graph import Around, Graph, Node, before_of
from orchestrator.workflow.inputs import input_schema
from orchestrator.workflow.joins import inline_joins
from orchestrator.workflow.loader import MOST_MISTAKES, LoadedWorkflow, Place
from orchestrator.workflow.nearby import SHOWN, did_you_mean, listed
from orchestrator.workflow.nodes import compensation, output_schemas, plan_step
from orchestrator.workflow.plan import Plan, PlanStep
from orchestrator.workflow.policies import check_file, policies
from orchestrator.workflow.reads import Reader

Json = Any


def compile_workflow(
    loaded: LoadedWorkflow,
    *,
    agents: Catalog | None = None,
    limits: Settings | None = None,
) -> Plan:
    """The plan of a workflow, with those of the workflows it runs.

    Args:
        agents: those that are known, to check agents, tasks and parameters against; None: these are not checked.
    Raises:
        WorkflowInvalid: the mistakes, with their files and lines, the first thousand.
    """
    with bounded():
        return _compiled(loaded, agents, limits or Settings(), (), {})


def _compiled(
    loaded: LoadedWorkflow, agents: Catalog | None, limits: Settings, above: tuple[Path, ...], known: Known
) -> Plan:
    """`above`: the files of the workflows that run this one, the outermost first; `known`: what was compiled so far."""
    spec = loaded.spec
    graph = Graph(loaded, limits.max_nesting)
    graph.block(spec.steps, ("steps",), [], Around())
    graph.block(spec.on_failure, ("on_failure",), [], Around(phase="on_failure"))
    graph.block(spec.finally_, ("finally",), [], Around(phase="finally"))
    if len(graph.nodes) > limits.max_steps:  # alone and at once: the other checks would take minutes
        too_many = f"has {len(graph.nodes):,} steps; the limit is {limits.max_steps:,}"
        raise WorkflowInvalid([loaded.problem(("steps",), too_many)])
    _resolve_needs(graph)
    order = _topological(graph)
    children = Children(loaded, agents, limits, above, known, _compiled)
    ordered = {node.id for node in order}
    stuck = [node for node in graph.nodes.values() if node.id not in ordered]
    made = [(plan_step(node, graph, agents, children), node) for node in (*order, *stuck)]
    reader = Reader(graph, order, limits.max_expression_bytes, output_schemas(made, agents, children))
    steps: list[PlanStep] = []
    for step, node in made:
        steps.append(reader.read(step, node))
        if (undo := compensation(node, step, graph, agents)) is not None:
            steps.append(reader.read_compensation(undo, node))
    output_reads = reader.outputs(spec.outputs)
    check_file(loaded, graph, steps, children)
    found = [*loaded.problems, *(loaded.problem(place, message) for place, message in dict.fromkeys(graph.problems))]
    found += children.problems
    if found:
        raise WorkflowInvalid(sorted(found, key=lambda problem: problem.line)[:MOST_MISTAKES])
    plan = Plan(
        name=spec.name,
        version=spec.version,
        steps=tuple(_linked(_raced(inline_joins(reader.with_previous(steps))))),
        outputs=spec.outputs,
        output_reads=output_reads,
        inputs_schema={name: input_schema(declared) for name, declared in spec.inputs.items()},
        priority=spec.priority,
        timeout_ms=spec.timeout,
        policies=policies(spec),
        schedule=spec.schedule.model_dump() if spec.schedule else None,
        children=children.plans,
        outline=graph.outline,
    )
    children.note(plan)
    return plan


def _resolve_needs(graph: Graph) -> None:
    """Needs that the file writes name steps and containers; a container stands for its end."""
    for place, written, around in graph.written:
        _check_written(place, written, around, graph)
    for node in graph.nodes.values():
        ends = [graph.resolve(need) for need in node.needs]
        node.needs = list(dict.fromkeys(end for end in ends if end in graph.nodes and _beside(node, graph.nodes[end])))
        if (
            node.spec is not None
            and node.spec.run_if in ("all_success", "any_success")
            and not node.needs
            and not node.only
        ):
            message = f"{node.spec.run_if!r} asks how the steps in `needs` ended, and the step needs none"
            graph.problems.append(((*node.place, "run_if"), message))


def _beside(node: Node, other: Node) -> bool:
    return (node.around.scope, node.around.phase) == (other.around.scope, other.around.phase)


def _check_written(place: Place, written: list[str], around: Around, graph: Graph) -> None:
    seen: set[str] = set()
    for at, need in enumerate(written):
        here, twice = (*place, "needs", at), need in seen
        seen.add(need)
        if need not in graph.ends:
            near = did_you_mean(need, graph.ends) or f"; there is {listed(graph.ends)}"
            graph.problems.append((here, f"no step {need!r}{near}"))
        elif twice:
            graph.problems.append((here, f"needs {need!r} twice"))
        elif graph.nodes.get(graph.ends[need]) is None:
            continue  # its container has mistakes of its own
        elif (other := graph.nodes[graph.ends[need]].around).phase != around.phase:
            where = "the steps" if other.phase == "main" else f"`{other.phase}`"
            graph.problems.append((here, f"{need!r} is one of {where}, which are over or have not begun by then"))
        elif other.scope is not None and other.scope != around.scope and not _around(around.scope, other.scope, graph):
            graph.problems.append((here, f"{need!r} is inside {other.scope!r}; write needs: [{other.scope}]"))
        elif other.scope != around.scope:
            message = f"{need!r} is outside of {around.scope!r}; write it under `needs` of {around.scope!r}"
            graph.problems.append((here, message))


def _around(scope: str | None, outer: str, graph: Graph) -> bool:
    """Whether a container is `outer` or inside it."""
    while scope is not None and scope != outer:
        scope = graph.nodes[scope].around.scope
    return scope is not None


def _topological(graph: Graph) -> list[Node]:
    """File order, as far as the needs allow (Kahn's algorithm): a loop or foreach, then its body, then what needs it.

    A cycle is a problem; what it stops is left out.
    """
    before = {node.id: before_of(node, graph) for node in graph.nodes.values()}
    waiting = {name: len(others) for name, others in before.items()}
    followers: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for name, others in before.items():
        for other in others:
            followers[other].append(name)
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
        cycle = _cycle(before, stuck)
        names = [name.removesuffix(".end") for name in reversed(cycle)]
        shown = " -> ".join(names if len(names) <= 2 * SHOWN else [*names[:SHOWN], "...", *names[-SHOWN:]])
        graph.problems.append((graph.nodes[cycle[0]].place, f"the steps need each other: {shown}"))
    return order


def _cycle(before: dict[str, list[str]], stuck: set[str]) -> list[str]:
    """One cycle among steps that can never start, each needing the next one, the first named again last."""
    path = [next(name for name in before if name in stuck)]
    seen: set[str] = set()
    while path[-1] not in seen:
        seen.add(path[-1])
        path.append(next(need for need in before[path[-1]] if need in stuck))
    return path[path.index(path[-1]) :]


def _raced(steps: list[PlanStep]) -> list[PlanStep]:
    """The steps, with the innermost race that each is part of."""
    race: dict[str, str] = {}
    for join in sorted((step for step in steps if step.enough is not None), key=lambda step: -len(step.body)):
        race |= dict.fromkeys(join.body, join.id)
    return [replace(step, race=race[step.id]) if step.id in race else step for step in steps]


def _linked(steps: Iterable[PlanStep]) -> list[PlanStep]:
    """The steps with `next` filled in."""
    steps = list(steps)
    followers: dict[str, list[str]] = {step.id: [] for step in steps}
    for step in steps:
        for need in step.needs:
            followers[need].append(step.id)
    return [replace(step, next=tuple(followers[step.id])) for step in steps]
