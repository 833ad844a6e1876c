"""A task-queue based workflow orchestrator for teams of agents, on Celery.

Agents are written with the names under "agents"; programs that submit and watch use those under "client".
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.agents.agent import Agent
    from orchestrator.agents.context import Context
    from orchestrator.client import Client
    from orchestrator.errors import (
        AgentOffline,
        ApprovalNotAllowed,
        HandoffFailed,
        MessageInvalid,
        MessageNotFound,
        OrchestratorError,
        OutcomeUnknown,
        QueueFull,
        RunFailed,
        RunNotFound,
        RunNotOver,
        RunOver,
        RunRefused,
        StepNotWaiting,
        StoreUnavailable,
        UnknownAgent,
        UnknownStep,
        WaitTimeout,
        WorkflowInvalid,
    )
    from orchestrator.messages import AgentMessage, DeliveryOptions, MessagePriority, MessageType
    from orchestrator.messaging.bus import AgentCommunicator, MessageBus
    from orchestrator.messaging.services import (
        CoordinationService,
        InterAgentBus,
        MessageQueueService,
        coordination,
    )
    from orchestrator.outcomes import Done, Fatal, Handoff, RetryLater
    from orchestrator.run_handle import RunHandle
    from orchestrator.settings import Settings
    from orchestrator.states import HandoffState, MessageState, RunState, StepState

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - under headings
    # --- agents
    "Agent",
    "Context",
    "Done",
    "Fatal",
    "Handoff",
    "RetryLater",
    # --- messages
    "AgentCommunicator",
    "AgentMessage",
    "CoordinationService",
    "DeliveryOptions",
    "HandoffState",
    "InterAgentBus",
    "MessageBus",
    "MessagePriority",
    "MessageQueueService",
    "MessageState",
    "MessageType",
    "coordination",
    # --- client
    "Client",
    "RunHandle",
    "RunState",
    "Settings",
    "StepState",
    # --- errors
    "AgentOffline",
    "ApprovalNotAllowed",
    "HandoffFailed",
    "MessageInvalid",
    "MessageNotFound",
    "OrchestratorError",
    "OutcomeUnknown",
    "QueueFull",
    "RunFailed",
    "RunNotFound",
    "RunNotOver",
    "RunOver",
    "RunRefused",
    "StepNotWaiting",
    "StoreUnavailable",
    "UnknownAgent",
    "UnknownStep",
    "WaitTimeout",
    "WorkflowInvalid",
]

_ROOMS = {
    "agents.agent": ("Agent",),
    "agents.context": ("Context",),
    "client": ("Client",),
    "messages": ("AgentMessage", "DeliveryOptions", "MessagePriority", "MessageType"),
    "messaging.bus": ("AgentCommunicator", "MessageBus"),
    "messaging.services": ("CoordinationService", "InterAgentBus", "MessageQueueService", "coordination"),
    "outcomes": ("Done", "Fatal", "Handoff", "RetryLater"),
    "run_handle": ("RunHandle",),
    "settings": ("Settings",),
    "states": ("HandoffState", "MessageState", "RunState", "StepState"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    # Loaded when used: a command that only prints its help needs no pydantic, a file of agents needs no Celery.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"orchestrator.{_ROOM_OF.get(name, 'errors')}"), name)
