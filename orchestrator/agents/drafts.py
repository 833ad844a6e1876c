"""From what somebody wants to say to a `Draft` that the store takes: every check of a message lives here."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.agents.conversations import conversation_of, led_by, passed_on_by
from orchestrator.agents.message_spans import written
from orchestrator.agents.values import encode
from orchestrator.errors import HandlerOutputInvalid, LimitExceeded, MessageInvalid, ReplyNotAllowed
from orchestrator.ids import new_id
from orchestrator.messages import (
    LONGEST_MS,
    LONGEST_S,
    REPLY_TYPES,
    STANDARD,
    AgentMessage,
    DeliveryOptions,
    MessagePriority,
    MessageType,
    body_of,
    known_type,
)
from orchestrator.names import WORD_RULE, is_word, wrong_address
from orchestrator.records import Draft, rfc3339
from orchestrator.settings import Settings
from orchestrator.store.directory import tasks_box
from orchestrator.store.inbox import CAPABILITY
from orchestrator.workflow.nearby import did_you_mean, listed

Json = Any
_CAPABLE = re.compile(re.escape(CAPABILITY) + r"[^\s/*]{1,128}")
_METADATA_BYTES = 64 << 10
_PAST_MS = 60_000  # a time that lies so far back was not meant; nearer it is a clock that differs
#: The numbers of the predecessors: 1 is LOW, 5 is EMERGENCY.
_NUMBERS = dict(enumerate(MessagePriority, start=1))


def draft_message(
    settings: Settings,
    *,
    to: str,
    sender: str,
    content: Json,
    message_type: MessageType | str = MessageType.INFORMATION_SHARE,
    priority: MessagePriority | str | int = MessagePriority.MEDIUM,
    delivery_options: DeliveryOptions | None = None,
    thread_id: str | None = None,
    reply_to: str | None = None,
    metadata: Mapping[str, Json] | None = None,
    delay_s: float | None = None,
    at_ms: int | None = None,
    idempotency_key: str | None = None,
    awaited_s: float | None = None,
    after: AgentMessage | None = None,
) -> Draft:
    """A message, checked.

    Args:
        content: a text, or any JSON value but None; a text becomes the body `{"content": text}`.
        reply_to: where replies should go, if not to the sender.
        delay_s, at_ms: deliver it after so many seconds, or not before this time (ms since the epoch, UTC).
        awaited_s: the sender waits so long for the reply, which then does not go to its inbox.
        after: the message that has led to this one.
    Raises:
        MessageInvalid: names the field.
    """
    _check_times(delay_s, at_ms)
    message = AgentMessage(
        message_id=new_id(),
        from_agent=check_name("from", sender),
        to_agent=to if isinstance(to, str) and _CAPABLE.fullmatch(to) else check_name("to", to),
        message_type=read_type(message_type),
        body=body_of(content),
        priority=read_priority(priority),
        reply_to=None if reply_to is None else check_name("reply_to", reply_to),
        thread_id=_word("thread_id", thread_id),
        delivery_options=delivery_options or STANDARD,
        metadata=_metadata(metadata) | (led_by(after) if after else {}),
    )
    body = encode_body(message.body, settings)
    return Draft(
        written(settings, message),
        body,
        box=to,
        delay_ms=round(delay_s * 1000) if delay_s else None,
        at_ms=at_ms,
        idempotency_key=_word("idempotency_key", idempotency_key),
        awaited_ms=round(awaited_s * 1000) if awaited_s else None,
        conversation=conversation_of(after) if after else None,
    )


def draft_reply(
    settings: Settings, original: AgentMessage, content: Json, *, sender: str | None = None, **options: Any
) -> Draft:
    """The answer to a message: to its sender, registered or not, with its priority and thread.

    Raises:
        ReplyNotAllowed: the sender is not whom the message was for.
    """
    if sender not in (None, original.to_agent):
        message = f"from: message {original.message_id} was for {original.to_agent}, only {original.to_agent} can reply"
        raise ReplyNotAllowed(message, field="from")
    kind = options.pop("message_type", None) or REPLY_TYPES.get(str(original.message_type), MessageType.RESPONSE)
    draft = draft_message(
        settings,
        to=original.reply_to or original.from_agent,
        sender=original.to_agent,
        content=content,
        message_type=kind,
        priority=options.pop("priority", original.priority),
        thread_id=original.thread_id,
        after=original,
        **options,
    )
    return replace(draft, message=replace(draft.message, correlation_id=original.message_id), open=True)


def draft_handoff(
    settings: Settings,
    *,
    to: str,
    sender: str,
    task: str,
    values: Mapping[str, Json],
    context: Mapping[str, Json],
    priority: MessagePriority | str | int = MessagePriority.MEDIUM,
    offer_s: float | None = None,
    idempotency_key: str | None = None,
    after: AgentMessage | None = None,
) -> Draft:
    """A handoff: a message that offers a task. Its id is the task's id; it is worked once.

    Args:
        task: the name of the agent's task.
        offer_s: seconds until it goes back to the sender if nobody accepts; default: `settings.offer_s`.
        after: the message, or the handoff, that has led to this one.
    Raises:
        MessageInvalid: names the field. HopLimit: it has gone through too many hands.
    """
    draft = draft_message(
        settings,
        to=to,
        sender=sender,
        content={"task": task, "with": dict(values), "context": dict(context)},
        message_type=MessageType.HANDOFF,
        priority=priority,
        delivery_options=DeliveryOptions(max_retries=0, ttl_seconds=settings.offer_s if offer_s is None else offer_s),
        idempotency_key=idempotency_key,
        metadata=passed_on_by(after, to) if after else None,
        after=after,
    )
    return replace(draft, box=tasks_box(to), task=task)


def _check_times(delay_s: float | None, at_ms: int | None) -> None:
    if delay_s is not None and not 0 <= delay_s <= LONGEST_S:
        raise MessageInvalid(f"delay is {delay_s}; write seconds from 0 to {LONGEST_S:,}", field="delay")
    if at_ms is not None and not -_PAST_MS <= at_ms - time.time() * 1000 <= LONGEST_MS:
        raise MessageInvalid(f"at: {_shown(at_ms)} is in the past, or more than a year ahead", field="at")


def _shown(at_ms: int) -> str:
    try:
        return str(rfc3339(at_ms))
    except (ValueError, OverflowError, OSError):
        return str(at_ms)


def encode_body(body: Json, settings: Settings) -> str:
    """The body as JSON text. Raises MessageInvalid: it is empty, too large, or no JSON."""
    if body is None or body in ({"content": ""}, {}, []):
        raise MessageInvalid("the body is empty", field="body")
    try:
        return encode(body, max_bytes=settings.max_message_bytes, what="the body")
    except (HandlerOutputInvalid, LimitExceeded) as error:
        raise MessageInvalid(error.message, field="body") from None


def read_type(word: MessageType | str) -> MessageType | str:
    """The type of a word, in any case. Raises MessageInvalid, with near words."""
    found = known_type(str(word).lower())
    if not isinstance(found, MessageType):
        near = did_you_mean(str(word), MessageType) or f"; there is {listed(MessageType)}"
        raise MessageInvalid(f"no message type {str(word)!r}{near}", field="type")
    return found


def read_priority(word: MessagePriority | str | int) -> MessagePriority:
    """The priority of a word, in any case, or of a number from 1 (low) to 5 (emergency). Raises MessageInvalid."""
    try:
        return _NUMBERS[word] if isinstance(word, int) else MessagePriority(word.lower())
    except (KeyError, ValueError, AttributeError):
        near = did_you_mean(str(word), MessagePriority)
        words = ", ".join(MessagePriority)
        raise MessageInvalid(f"no priority {word!r}{near}; there is {words}", field="priority") from None


def _metadata(given: Mapping[str, Json] | None) -> dict[str, Json]:
    """Raises MessageInvalid: it is no JSON object, or too large: it is read whenever the message is looked at."""
    if not given:
        return {}
    if not isinstance(given, Mapping):
        raise MessageInvalid("metadata is no mapping", field="metadata")
    try:
        encode(dict(given), max_bytes=_METADATA_BYTES, what="metadata")
    except (HandlerOutputInvalid, LimitExceeded) as error:
        raise MessageInvalid(error.message, field="metadata") from None
    return dict(given)


def _word(what: str, text: str | None) -> str | None:
    """Raises MessageInvalid: it cannot be part of a key."""
    if text is None or is_word(text):
        return text
    raise MessageInvalid(f"{what} {WORD_RULE}", field=what)


def check_name(what: str, name: str) -> str:
    """The name of an agent. Raises MessageInvalid: no agent can be called like that."""
    if wrong := wrong_address(name):
        raise MessageInvalid(f"{what}: {name!r} is no name of an agent: {wrong}", field=what)
    return name
