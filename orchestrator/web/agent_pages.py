"""The page of the agents: who is there, what waits for them, how much they do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from orchestrator.client import Client
from orchestrator.store.load import PRIORITIES
from orchestrator.web.handlers import Page

Json = Any
LATELY_S = 60.0  # the time for which steps are counted
SUCCEEDED = "SUCCESS"  # Celery's word


class AgentsPage(Page):
    """All agents."""

    tab = "Agents"

    async def get(self) -> None:
        capability = self.get_query_argument("capability", "")
        agents = await self.ask(Client.agents, capability or None)
        done = done_lately(self.application.events.state.tasks.values(), time.time())
        self.show("agents.html", agents=agents, capability=capability, priorities=PRIORITIES, done=done)


def done_lately(tasks: Iterable[Any], now: float) -> Counter[str]:
    """Agent -> steps that it has done in the last minute, of the Celery tasks that Flower has heard of.

    A step's task is called `AGENT.TASK` there.
    """
    since = now - LATELY_S
    return Counter(
        str(task.name).rpartition(".")[0]
        for task in list(tasks) if task.state == SUCCEEDED and task.name and (task.succeeded or 0) >= since
    )  # fmt: skip
