"""An agent for each crash point: it has its name, and its worker dies there. They do what those of `agents.py` do."""

from __future__ import annotations

from orchestrator import Agent
from orchestrator.crashpoints import CrashPoint
from tests.faults.agents import hear, link


def _agent(name: str) -> Agent:
    made = Agent(name)
    made.on_message(hear)
    made.task(link)
    return made


globals().update({point: _agent(point) for point in map(str, CrashPoint)})  # where agents are looked for
