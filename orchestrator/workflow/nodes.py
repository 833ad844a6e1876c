"""From one node of the graph to its entry in the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.workflow.catalog import Catalog
from orchestrator.workflow.children import Children
from orchestrator.workflow.graph import Graph, Node
from orchestrator.workflow.plan import Cache, End, ForEach, Limit, Loop, PlanStep, Retry, Wait
from orchestrator.workflow.routes import resolve_agent
from orchestrator.workflow.spec import Compensation, RetryPolicy, Step
from orchestrator.workflow.times import parse_time

Json = Any
_WITH_OUTPUT = ("task", "foreach", "set", "wait", "workflow")


def plan_step(node: Node, graph: Graph, agents: Catalog | None, children: Children) -> PlanStep:
    """The plan's entry of a node, without what its expressions read; problems are added to the graph."""
    around = node.around
    step = PlanStep(
        id=node.id,
        kind=node.kind,
        needs=tuple(node.needs),
        gate=around.gate,
        branch=node.branch,
        phase=around.phase,
        scope=around.scope,
        each=around.each,
        within=around.within,
        depth=around.depth,
    )
    spec = node.spec
    if spec is None:
        return step
    if node.kind == "join":
        return replace(step, enough=spec.enough, rest=spec.rest or "cancel", body=node.inside)
    if not node.only:
        step = replace(
            step,
            run_if=spec.run_if or "none_failed",
            when=_as_expression(spec.when),
            on_error=spec.on_error or "fail",
            foreach=_foreach(spec),
        )
    if node.end is not None:
        return _container(step, node, spec, graph)
    if node.kind == "switch":
        return replace(step, conditions=tuple(_as_expression(branch.when) for branch in spec.switch or ()))
    if node.kind == "set":
        return replace(step, values=spec.set)
    if spec.end is not None:
        if around.phase != "main":
            graph.problems.append(((*node.place, "end"), "`end` stands only under `steps`: the run is over already"))
        return replace(step, end=End(spec.end.status, spec.end.message))
    if node.kind == "wait":
        return replace(step, wait=_wait(node, spec, graph))
    if node.kind == "workflow":
        child = children.of(node, spec, graph)
        step = replace(step, child=child.hash if child else None, file=spec.workflow, params=spec.with_ or {})
        return replace(step, retry=_retry(spec.retry), priority=spec.priority, compensated=spec.compensate is not None)
    return _on_agent(step, node, spec, graph, agents) if node.kind in ("task", "foreach") else step


def _on_agent(step: PlanStep, node: Node, spec: Step, graph: Graph, agents: Catalog | None) -> PlanStep:
    agent, task = resolve_agent(node, spec, graph, agents)
    defaults = graph.loaded.spec.defaults
    fallback = None
    if spec.fallback is not None:
        stand_in = Step.model_construct(agent=spec.fallback.agent, task=spec.fallback.task, with_=spec.with_)
        place = replace(node, place=(*node.place, "fallback"))
        name, other = resolve_agent(place, stand_in, graph, agents)
        fallback = (name or "", other or "")
    return replace(
        step,
        agent=agent,
        capability=spec.capability if node.kind == "task" else None,
        task=task,
        params=spec.with_ or {},
        retry=_retry(spec.retry or defaults.retry),
        timeout_ms=spec.timeout or defaults.timeout,
        fallback=fallback,
        compensated=spec.compensate is not None,
        priority=spec.priority,
        limits=_limits(node, spec, graph),
        cache=Cache(spec.cache.key, spec.cache.ttl) if spec.cache else None,
        output_schema=spec.output_schema,
    )


def compensation(node: Node, step: PlanStep, graph: Graph, agents: Catalog | None) -> PlanStep | None:
    """What undoes the step: an entry of its own, which nothing needs and which needs nothing."""
    if node.spec is None or node.spec.compensate is None or node.end is not None:
        return None
    spec: Compensation = node.spec.compensate
    place = replace(node, id=f"{node.id.removesuffix('.item')}.compensate", place=(*node.place, "compensate"))
    written = Step.model_construct(agent=spec.agent, capability=spec.capability, task=spec.task, with_=spec.with_)
    if (spec.agent is None) == (spec.capability is None):
        graph.missing(place.place, "a compensation needs either `agent` or `capability`")
        return None
    agent, task = resolve_agent(place, written, graph, agents)
    defaults = graph.loaded.spec.defaults
    items = step.kind == "foreach"  # one compensation for each item of an agent's foreach
    return PlanStep(
        id=place.id,
        kind="task",
        phase="compensate",
        agent=agent,
        capability=spec.capability,
        task=task,
        params=spec.with_ or {},
        retry=_retry(spec.retry or defaults.retry),
        timeout_ms=spec.timeout or defaults.timeout,
        undoes=step.id,
        each=step.id if items else step.each,
        depth=step.depth + items,
    )


def output_schemas(
    made: list[tuple[PlanStep, Node]], agents: Catalog | None, children: Children
) -> dict[str, dict[str, Json]]:
    """step id -> JSON Schema of its output, where the file, the agent or the child's file says what that is."""
    schemas: dict[str, dict[str, Json]] = {}
    for step, node in made:
        schema = step.output_schema
        if schema is None and step.agent and agents and (agent := agents.get(step.agent)):
            task = agent.task(step.task or "")
            schema = task.output_schema if task else None
        elif step.kind == "set":
            schema = _map_of(step.values or {})
        elif step.kind == "workflow" and step.child:
            schema = _map_of(children.named(step.child).outputs or {})
        if schema is not None:
            schemas[node.id] = schema
    return schemas


def _map_of(fields: dict[str, Json]) -> dict[str, Json]:
    return {"type": "object", "properties": {name: {} for name in fields}}


def _container(step: PlanStep, node: Node, spec: Step, graph: Graph) -> PlanStep:
    """A loop or a foreach with its body."""
    body = tuple(graph.bodies.get(node.id, ()))
    entry = tuple(name for name in body if graph.nodes[name].around.scope == node.id and not graph.nodes[name].needs)
    loop = None
    if spec.loop is not None:
        until = _as_expression(spec.loop.until) or ""
        loop = Loop(until, spec.loop.max_iterations, spec.loop.delay)
    last = graph.nodes.get(node.last or "")
    has_output = last is not None and last.kind in _WITH_OUTPUT and last.around.scope == node.id
    # Only a foreach gives the output of its last step on; a loop's steps are read by their ids.
    return replace(step, loop=loop, body=body, entry=entry, last=last.id if last and has_output and not loop else None)


def _foreach(spec: Step) -> ForEach | None:
    if spec.foreach is None:
        return None
    return ForEach(spec.foreach, spec.max_parallel, spec.on_item_error or "fail", spec.enough, spec.rest or "cancel")


def _wait(node: Node, spec: Step, graph: Graph) -> Wait:
    wait = spec.wait
    assert wait is not None
    place = (*node.place, "wait")
    if sum(part is not None for part in (wait.signal, wait.for_, wait.until)) != 1:
        graph.missing(place, "a `wait` needs exactly one of `signal`, `for` and `until`")
    for key in ("timeout", "on_timeout"):
        if wait.signal is None and key in wait.model_fields_set:
            graph.problems.append(((*place, key), f"{key!r} belongs to a `signal`; a time to wait for comes by itself"))
    if wait.signal is not None and "on_timeout" in wait.model_fields_set and wait.timeout is None:
        graph.problems.append(((*place, "on_timeout"), "'on_timeout' needs a `timeout`"))
    if wait.until is not None and "${{" not in wait.until:
        try:
            parse_time(wait.until)
        except ValueError as error:
            graph.problems.append(((*place, "until"), str(error)))
    return Wait(wait.signal, wait.for_, wait.until, wait.timeout, wait.on_timeout or "fail")


def _limits(node: Node, spec: Step, graph: Graph) -> tuple[Limit, ...]:
    limits = []
    for at, limit in enumerate(spec.limits or ()):
        if (limit.rate is None) == (limit.max is None):
            graph.missing((*node.place, "limits", at), "a limit needs either `rate` or `max`")
            continue
        rate, per_ms = limit.rate or (None, None)
        limits.append(Limit(limit.key, rate, per_ms, limit.max))
    return tuple(limits)


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
