"""Messages that lead to messages: which conversation they belong to, and through whose hands a task has gone.

Both stand in the metadata, which are signed. A message that others have led to keeps the pace of its conversation:
two agents that answer each other for ever, or a team where all answer all, go on at that pace and hold up nobody else.
"""

from __future__ import annotations

from typing import Any

from orchestrator.errors import HopLimit
from orchestrator.messages import AgentMessage

Json = Any
MOST_HOPS = 16
_CONVERSATION, _PATH = "conversation", "path"


def led_by(message: AgentMessage) -> dict[str, Json]:
    """The metadata of a message that this one leads to: the first message of the conversation."""
    return {_CONVERSATION: conversation_of(message) or message.message_id}


def conversation_of(message: AgentMessage) -> str | None:
    """The first message of the conversation; None: this is the first."""
    found = message.metadata.get(_CONVERSATION)
    return found if isinstance(found, str) else None


def passed_on_by(message: AgentMessage, to: str) -> dict[str, Json]:
    """The metadata of a handoff that the handler of this one makes: the agents that have had the task.

    Raises:
        HopLimit: more than `MOST_HOPS`; it names them all.
    """
    path = [*message.metadata.get(_PATH, [message.from_agent]), message.to_agent]
    check_hops([*path, to])
    return {_PATH: path}


def check_hops(path: list[str]) -> None:
    """Raises HopLimit where a task has gone through too many hands."""
    if len(path) > MOST_HOPS:
        way = " -> ".join(path)
        raise HopLimit(f"the task has gone through {MOST_HOPS} hands and goes no further: {way}", path=path)
