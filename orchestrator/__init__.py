"""A task-queue based workflow orchestrator for teams of agents, on Celery.

Agents are written with the names under "agents"; programs that submit and watch use those under "client".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.agents.agent import Agent
from orchestrator.agents.context import Context
from orchestrator.errors import (
    OrchestratorError,
    RunFailed,
    RunNotFound,
    StoreUnavailable,
    WaitTimeout,
    WorkflowInvalid,
)
from orchestrator.outcomes import Done, Fatal, RetryLater
from orchestrator.settings import Settings
from orchestrator.states import RunState, StepState

if TYPE_CHECKING:
    from orchestrator.client import Client, RunHandle

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - under headings
    # --- agents
    "Agent",
    "Context",
    "Done",
    "Fatal",
    "RetryLater",
    # --- client
    "Client",
    "RunHandle",
    "RunState",
    "Settings",
    "StepState",
    # --- errors
    "OrchestratorError",
    "RunFailed",
    "RunNotFound",
    "StoreUnavailable",
    "WaitTimeout",
    "WorkflowInvalid",
]

_LAZY = {"Client": "orchestrator.client", "RunHandle": "orchestrator.client"}


def __getattr__(name: str) -> Any:
    # The client brings Celery, a quarter of a second of imports that a file which only defines agents does not need.
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
