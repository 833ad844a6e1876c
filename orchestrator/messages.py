"""What agents say to each other: `AgentMessage`, its types, priorities and delivery options. Values, no behaviour.

Types and fields of a newer version are carried along, so that a mixed installation loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.errors import MessageInvalid

Json = Any
VERSION = 1
LONGEST_S = 366 * 86400  # of any time that a message, or a file, carries
LONGEST_MS = LONGEST_S * 1000
MOST_RETRIES = 1000


class MessageType(StrEnum):
    """What a message is about. Receivers may choose their handlers by it."""

    TASK_ASSIGNMENT = "task_assignment"
    TASK_UPDATE = "task_update"
    TASK_COMPLETION = "task_completion"
    TASK_CANCELLATION = "task_cancellation"
    COORDINATION_REQUEST = "coordination_request"
    COORDINATION_RESPONSE = "coordination_response"
    STATUS_UPDATE = "status_update"
    HEALTH_CHECK = "health_check"
    INFORMATION_SHARE = "information_share"
    QUESTION = "question"
    ANSWER = "answer"
    NOTIFICATION = "notification"
    AGENT_STARTED = "agent_started"
    AGENT_STOPPED = "agent_stopped"
    SYSTEM_ALERT = "system_alert"
    EMERGENCY = "emergency"
    REQUEST = "request"
    RESPONSE = "response"
    BROADCAST = "broadcast"
    HANDOFF = "handoff"


class MessagePriority(StrEnum):
    """How urgent a message is; EMERGENCY goes before everything that has not started."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"
    EMERGENCY = "emergency"


#: The type of a reply, by the type of what it answers; RESPONSE for the rest.
REPLY_TYPES: dict[str, MessageType] = {
    MessageType.QUESTION: MessageType.ANSWER,
    MessageType.COORDINATION_REQUEST: MessageType.COORDINATION_RESPONSE,
}


_KINDS = {"thread_id": str, "correlation_id": str, "reply_to": str, "metadata": dict, "version": int}


def _number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """How hard to try.

    Args:
        require_ack: False: handled at most once; neither a failure nor a dead worker brings it back.
        max_retries: attempts after the first one that failed; >= 0.
        retry_delay_seconds: before the first retry; it doubles with each one, up to a minute; >= 0.
        ttl_seconds: a message not begun by then expires; > 0; None: never.
        persistent: False: it does not wait for an agent that is offline, it expires at once.
    """

    require_ack: bool = True
    max_retries: int = 2
    retry_delay_seconds: float = 1.0
    ttl_seconds: float | None = None
    persistent: bool = True

    def __post_init__(self) -> None:
        retries, delay_s, ttl_s = self.max_retries, self.retry_delay_seconds, self.ttl_seconds
        if not _number(retries) or not 0 <= retries <= MOST_RETRIES or retries != int(retries):
            wanted = f"a whole number from 0 to {MOST_RETRIES:,}"
            raise MessageInvalid(f"max_retries is {retries}; write {wanted}", field="max_retries")
        if not _number(delay_s) or not 0 <= delay_s <= LONGEST_S:
            wanted = f"seconds from 0 to {LONGEST_S:,}"
            raise MessageInvalid(f"retry_delay_seconds is {delay_s}; write {wanted}", field="retry_delay_seconds")
        if ttl_s is not None and (not _number(ttl_s) or not 0 < ttl_s <= LONGEST_S):
            wanted = f"seconds above 0, at most {LONGEST_S:,}"
            raise MessageInvalid(f"ttl_seconds is {ttl_s}; write {wanted}", field="ttl_seconds")

    def to_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> DeliveryOptions:
        """The inverse of `to_json`; options of a newer version are left out."""
        return cls(**{name: value for name, value in data.items() if name in cls.__slots__})


STANDARD = DeliveryOptions()


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """One message. `created_at` is milliseconds by the server's clock; 0 before it is stored.

    `message_type` is a plain text for a type that this version does not know; `extra` holds unknown fields.
    """

    message_id: str
    from_agent: str
    to_agent: str
    message_type: MessageType | str = MessageType.INFORMATION_SHARE
    body: Json = None
    priority: MessagePriority = MessagePriority.MEDIUM
    correlation_id: str | None = None
    reply_to: str | None = None
    thread_id: str | None = None
    created_at: int = 0
    delivery_options: DeliveryOptions = STANDARD
    metadata: Mapping[str, Json] = field(default_factory=dict)
    version: int = VERSION
    extra: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """What the store does not keep beside it, as far as it is not the default."""
        told = {
            "thread_id": self.thread_id,
            "correlation_id": self.correlation_id,
            "reply_to": self.reply_to,
            "metadata": self.metadata or None,
            "version": None if self.version == VERSION else self.version,
            "delivery_options": None if self.delivery_options == STANDARD else self.delivery_options.to_json(),
        }
        return {**self.extra, **{name: value for name, value in told.items() if value is not None}}

    @classmethod
    def from_json(cls, data: Mapping[str, Json], *, body: Json, created_at: int) -> AgentMessage:
        """The inverse of `to_json`, with the fields that the store keeps beside it. Raises MessageInvalid."""
        _check_shape(data)
        known = {name: value for name, value in data.items() if name in cls.__slots__}
        known["message_type"] = known_type(known.get("message_type", MessageType.INFORMATION_SHARE))
        known["priority"] = MessagePriority(known.get("priority", "medium"))
        if "delivery_options" in known:
            known["delivery_options"] = DeliveryOptions.from_json(known["delivery_options"])
        extra = {name: value for name, value in data.items() if name not in cls.__slots__}
        return cls(**{**known, "body": body, "created_at": created_at, "extra": extra})

    @property
    def text(self) -> str | None:
        """The text of a text message, whose body is `{"content": text}`."""
        content = content_of(self.body)
        return content if isinstance(content, str) else None


def _check_shape(data: Mapping[str, Json]) -> None:
    """Raises MessageInvalid where a field, which anybody may have written, is not of its type."""
    for name, kind in _KINDS.items():
        if name in data and not isinstance(data[name], kind):
            raise MessageInvalid(f"{name} is no {kind.__name__}", field=name)


def known_type(word: str) -> MessageType | str:
    """The type of a word; the word itself if this version does not know it."""
    try:
        return MessageType(word)
    except ValueError:
        return word


def content_of(body: Json) -> Json:
    """What was said: the text of a text message, otherwise the body."""
    return body["content"] if isinstance(body, dict) and set(body) == {"content"} else body


def body_of(content: Json) -> Json:
    """The inverse of `content_of`: a text becomes `{"content": text}`."""
    return {"content": content} if isinstance(content, str) else content
