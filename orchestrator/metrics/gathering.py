"""What is measured. Every figure that `orchestrator metrics` shows is gathered here, and written in `formats.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.client import Client
from orchestrator.store.load import AgentLoad


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All figures of one moment."""

    agents: Sequence[AgentLoad]


def gather(client: Client) -> Snapshot:
    """Ask the server. Two round trips, and one more for each 100 agents.

    Raises:
        StoreUnavailable.
    """
    return Snapshot(agents=client.loads())
