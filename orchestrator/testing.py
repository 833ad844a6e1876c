"""`simulate`: run a workflow in this process, with fakes for its agents, no server and a virtual clock.

The compiler, the decisions, the attempts and the store's scripts are those of the real engine; only agents and the time
are made up.
"""

from __future__ import annotations

from orchestrator.simulation.run import SimulatedRun, SimulatedStep, simulate

__all__ = ["SimulatedRun", "SimulatedStep", "simulate"]
