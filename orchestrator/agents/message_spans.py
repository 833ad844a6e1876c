"""The spans of a message: one when it is written, whose context goes along in its metadata, one of each attempt at it.

Names and attributes are those of OpenTelemetry's conventions for messaging, where there are any.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from orchestrator.agents.spans import Handled, handling
from orchestrator.messages import AgentMessage
from orchestrator.records import Delivery
from orchestrator.settings import Settings
from orchestrator.tracing import begin, carrier_of, context_in, tracer


def written(settings: Settings, message: AgentMessage) -> AgentMessage:
    """The message with the context of its span in the metadata; one that the sender has put there stays."""
    makes = tracer(settings.traces)
    if makes is None or "traceparent" in message.metadata:
        return message
    span = begin(makes, f"create {message.to_agent}", _about(message, "create"), kind="PRODUCER")
    span.end()
    return replace(message, metadata={**message.metadata, **carrier_of(span)})


def received(settings: Settings, delivery: Delivery) -> AbstractContextManager[None]:
    """The span of an attempt at a message, active meanwhile, in that of the message; that of a handoff also links to
    it."""
    makes = tracer(settings.traces)
    if makes is None:
        return nullcontext()
    message = delivery.message
    context = context_in({name: str(message.metadata.get(name) or "") for name in ("traceparent", "tracestate")})
    about = _about(message, "process")
    about |= {"orchestrator.agent": message.to_agent, "orchestrator.attempt": delivery.attempt}
    about |= {"orchestrator.task": delivery.task}
    span = begin(
        makes, f"process {message.to_agent}", about, kind="CONSUMER", context=context,
        links=[context] if delivery.task else [],
    )  # fmt: skip
    return handling(Handled(span, state="acknowledged"))


def _about(message: AgentMessage, operation: str) -> dict[str, Any]:
    return {
        "messaging.system": "orchestrator",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": message.to_agent,
        "messaging.message.id": message.message_id,
        "messaging.message.conversation_id": message.thread_id,
        "orchestrator.from": message.from_agent,
        "orchestrator.message.type": str(message.message_type),
        "orchestrator.priority": message.priority.value,
    }
