"""What is known about the agents: names, capabilities, tasks, and the parameters of each task.

Loading agents and the registry in the store both end in a `Catalog`; the compiler checks a workflow against it. No
handler lives here, only descriptions that survive JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Json = Any


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """One task of an agent. `params` maps each parameter's name to whether it must be given.

    `accepts_any` says that the task takes parameters of any name. The schemas are JSON Schema, where known.
    """

    name: str
    params: dict[str, bool] = field(default_factory=dict)
    accepts_any: bool = False
    input_schema: dict[str, Json] | None = None
    output_schema: dict[str, Json] | None = None

    def to_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: dict[str, Json]) -> TaskInfo:
        """The inverse of `to_json`; fields of a newer version are left out."""
        return cls(**{name: value for name, value in data.items() if name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """One agent. `has_tasks_unknown` says that its tasks are not known here, so that any name may be right.

    `hears` says that it has handlers for messages.
    """

    name: str
    capabilities: tuple[str, ...] = ()
    tasks: tuple[TaskInfo, ...] = ()
    has_tasks_unknown: bool = False
    hears: bool = False

    def task(self, name: str) -> TaskInfo | None:
        return next((task for task in self.tasks if task.name == name), None)

    def to_json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "capabilities": list(self.capabilities),
            "tasks": [task.to_json() for task in self.tasks],
            "has_tasks_unknown": self.has_tasks_unknown,
            "hears": self.hears,
        }

    @classmethod
    def from_json(cls, data: dict[str, Json]) -> AgentInfo:
        """The inverse of `to_json`; fields of a newer version are left out."""
        return cls(
            name=data["name"],
            capabilities=tuple(data.get("capabilities", ())),
            tasks=tuple(TaskInfo.from_json(task) for task in data.get("tasks", ())),
            has_tasks_unknown=bool(data.get("has_tasks_unknown", False)),
            hears=bool(data.get("hears", False)),
        )


@dataclass(frozen=True)
class Catalog:
    """All agents known to one command or worker. Where a name comes twice, the first one counts.

    Args:
        more: gives further agents; asked once, when `agents` do not answer a question.
    """

    agents: tuple[AgentInfo, ...] = ()
    more: Callable[[], tuple[AgentInfo, ...]] = tuple

    def get(self, name: str) -> AgentInfo | None:
        return self._first.get(name) or self._by_name.get(name)

    def says_the_same(self, other: Catalog) -> bool:
        """Whether this one answers what the other one was asked as that did."""
        return self.agents == other.agents and ("others" not in vars(other) or self.others == other.others)

    @cached_property
    def others(self) -> tuple[AgentInfo, ...]:
        """The further agents."""
        return self.more()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every agent's name, sorted."""
        return tuple(sorted(self._by_name))

    @cached_property
    def capabilities(self) -> tuple[str, ...]:
        """Every capability that some agent has, sorted."""
        return tuple(sorted({capability for agent in self for capability in agent.capabilities}))

    def by_capability(self, capability: str) -> tuple[AgentInfo, ...]:
        """The agents with that capability, by name."""
        found = [agent for agent in self if capability in agent.capabilities]
        return tuple(sorted(found, key=lambda agent: agent.name))

    def __iter__(self) -> Iterator[AgentInfo]:
        return iter(self._by_name.values())

    @cached_property
    def _first(self) -> dict[str, AgentInfo]:
        return {agent.name: agent for agent in reversed(self.agents)}

    @cached_property
    def _by_name(self) -> dict[str, AgentInfo]:
        return {agent.name: agent for agent in reversed((*self.agents, *self.others))}
