"""Which agent and task a step runs on, and whether its `with` fits the task's parameters."""

from __future__ import annotations

from orchestrator.workflow.catalog import AgentInfo, Catalog, TaskInfo
from orchestrator.workflow.graph import Graph, Node
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.spec import Step


def resolve_agent(node: Node, spec: Step, graph: Graph, agents: Catalog | None) -> tuple[str | None, str | None]:
    """(agent, task) of a step; problems are added to the graph.

    Without a catalog a task that was left out cannot be known; it then takes the step's id as its name.
    """
    if spec.agent is None and spec.capability is None:
        return None, None
    if agents is None:
        return spec.agent or f"capability-{spec.capability}", spec.task or node.id.removesuffix(".item")
    agent = _agent(node, spec, graph, agents)
    if agent is None:
        return spec.agent, spec.task
    if agent.has_tasks_unknown:
        return agent.name, spec.task or node.id.removesuffix(".item")
    task = _task(node, spec, graph, agent)
    if task is not None:
        _check_parameters(node, spec, graph, f"{agent.name}.{task.name}", task)
    return agent.name, task.name if task else spec.task


def _agent(node: Node, spec: Step, graph: Graph, agents: Catalog) -> AgentInfo | None:
    if spec.capability is not None:
        able = agents.by_capability(spec.capability)
        if able:
            return able[0]
        known = did_you_mean(spec.capability, agents.capabilities) or f"; there is {listed(agents.capabilities)}"
        graph.problems.append(((*node.place, "capability"), f"no agent with capability {spec.capability!r}{known}"))
        return None
    agent = agents.get(spec.agent or "")
    if agent is None:
        near = did_you_mean(spec.agent or "", agents.names) or f"; there is {listed(agents.names)}"
        graph.problems.append(((*node.place, "agent"), f"no agent {spec.agent!r}{near}"))
    return agent


def _task(node: Node, spec: Step, graph: Graph, agent: AgentInfo) -> TaskInfo | None:
    names = [task.name for task in agent.tasks]
    if spec.task is not None:
        task = agent.task(spec.task)
        if task is None:
            near = did_you_mean(spec.task, names) or f"; it has {listed(names)}"
            graph.problems.append(((*node.place, "task"), f"agent {agent.name!r} has no task {spec.task!r}{near}"))
        return task
    if len(names) == 1:
        return agent.tasks[0]
    has = f"has several tasks; say which: {listed(names)}" if names else "has no task"
    graph.missing(node.place, f"agent {agent.name!r} {has}")
    return None


def _check_parameters(node: Node, spec: Step, graph: Graph, name: str, task: TaskInfo) -> None:
    given = spec.with_ or {}
    if not task.accepts_any:
        for parameter in given:
            if parameter not in task.params:
                near = did_you_mean(parameter, task.params) or f"; it has {listed(task.params)}"
                message = f"{name} has no parameter {parameter!r}{near}"
                graph.problems.append(((*node.place, "with", parameter), message))
    missing = [parameter for parameter, required in task.params.items() if required and parameter not in given]
    if missing:
        place = (*node.place, "with") if given else node.place
        graph.missing(place, f"{name} needs {listed(repr(parameter) for parameter in missing)} under `with`")
