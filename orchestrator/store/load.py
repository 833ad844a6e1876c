"""What waits for each agent, what runs, and who serves it: the figures by which people and programs scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.store.keys import Keys
from orchestrator.store.scripts import Scripts

PAGE = 100  # agents counted by one script: at most 3 ms in which nobody else is served
RANK = 10**15  # the place of a message in its inbox is RANK times the rank of its priority, and a counter
PRIORITIES = ("emergency", "urgent", "high", "medium", "low")
TASKS = "/tasks"  # what the box of the handoffs to an agent ends with


@dataclass(frozen=True, slots=True)
class Waiting:
    """Steps, messages and handoffs of one agent and priority that nobody has begun.

    `oldest_ms`: for how long the oldest of them waits, a step since it was sent to the agent, a message since it was
    written; 0: nothing waits.
    """

    steps: int = 0
    messages: int = 0
    handoffs: int = 0
    oldest_ms: int = 0

    @property
    def count(self) -> int:
        return self.steps + self.messages + self.handoffs


@dataclass(frozen=True, slots=True)
class AgentLoad:
    """One agent: attempts that run, the workers that serve it now, and by priority what waits."""

    name: str
    running: int
    workers: tuple[str, ...]
    waiting: Mapping[str, Waiting]

    @property
    def waits(self) -> int:
        """Everything that waits."""
        return sum(waiting.count for waiting in self.waiting.values())


NOTHING: Mapping[str, Waiting] = dict.fromkeys(PRIORITIES, Waiting())  # most agents of a thousand have nothing to do


def read_loads(
    scripts: Scripts, keys: Keys, names: Sequence[str], online: Mapping[str, Sequence[str]]
) -> list[AgentLoad]:
    """The load of each of these agents, in their order.

    Args:
        online: agent -> the workers that serve it now.
    Script: count_waiting.lua, for each 100 agents, all in one round trip; O(agents * log n).
    """
    fixed = [keys.inbox(""), keys.message_prefix, TASKS, RANK, len(PRIORITIES), *PRIORITIES]
    pages = [names[at : at + PAGE] for at in range(0, len(names), PAGE)]
    calls = [([keys.ready, keys.queues], [*fixed, *page]) for page in pages]
    rows = [row for page in scripts.ask_many("count_waiting", calls) for row in page]
    return [_load(name, row, sorted(online.get(name, ()))) for name, row in zip(names, rows, strict=True)]


def _load(name: str, row: Sequence[int], workers: Sequence[str]) -> AgentLoad:
    running, *counts = row
    waiting = NOTHING
    if counts:
        waiting = {priority: Waiting(*counts[4 * rank : 4 * rank + 4]) for rank, priority in enumerate(PRIORITIES)}
    # What a dead worker held is not running.
    return AgentLoad(name, max(0, running) if workers else 0, tuple(workers), waiting)
