"""Four agents that hear messages and do nothing at all: what is measured with them is everything else."""

from __future__ import annotations

from orchestrator import Agent, AgentMessage

NAMES = ("idle1", "idle2", "idle3", "idle4")
AGENTS = [Agent(name, concurrency=2) for name in NAMES]
idle1, idle2, idle3, idle4 = AGENTS


def nothing(message: AgentMessage) -> None:
    """Hear it."""


for agent in AGENTS:
    agent.on_message(nothing)
