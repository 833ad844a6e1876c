"""Drafts in the form in which the scripts store them. It changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.messages import MessagePriority
from orchestrator.records import SCHEMA, Doorbell, Draft
from orchestrator.settings import Settings
from orchestrator.store.keys import Keys
from orchestrator.store.signatures import Signatures
from orchestrator.store.values import pack

Json = Any
Doorbells = Callable[[str, str, str], Doorbell]  # (box, priority, message id) -> doorbell
_RANKS = {priority: rank for rank, priority in enumerate(reversed(MessagePriority))}
_MINUTE_MS = 60_000


class Posting:
    """For one process.

    Args:
        doorbells: makes the Celery message that calls a worker.
    """

    def __init__(self, keys: Keys, settings: Settings, doorbells: Doorbells, signatures: Signatures) -> None:
        self._keys = keys
        self._settings = settings
        self._doorbells = doorbells
        self._signatures = signatures

    def arguments(self, drafts: Sequence[Draft]) -> tuple[list[str], list[str]]:
        """Nine keys and four arguments for each draft, as `post` in _message.lua wants them.

        Raises:
            SenderMismatch: the key of this process is of another agent than the sender.
        """
        keys, args = [], []
        for draft in drafts:
            message, named = draft.message, self._keys
            doorbell = self._doorbells(draft.box, message.priority, message.message_id)
            own = named.message(message.message_id)
            once = draft.idempotency_key
            used = named.message_idempotency(message.from_agent, message.to_agent, once) if once else own
            thread = named.thread(message.thread_id) if message.thread_id else own
            if draft.task:
                thread = named.handoffs
            answered = message.correlation_id or message.message_id
            keys += [own, named.inbox(draft.box), named.knock(draft.box), doorbell.queue, doorbell.wake]
            keys += [used, thread, named.message(answered), named.bell(answered)]
            envelope, body = json.dumps(message.to_json(), separators=(",", ":")), pack(draft.body)
            signed = self._signatures.sign(draft, envelope, body)
            args += [self._spec(draft, *(signed or (None, None))), envelope, body, doorbell.ring]
        return keys, args

    def _spec(self, draft: Draft, signature: str | None, holds_ms: int | None) -> str:
        message, options = draft.message, draft.message.delivery_options
        retain_ms = self._settings.message_retention_s * 1000
        ttl_ms = None if options.ttl_seconds is None else max(1, round(options.ttl_seconds * 1000))
        spec = {
            "id": message.message_id, "box": draft.box, "to": message.to_agent, "from": message.from_agent,
            "type": message.message_type, "priority": message.priority, "rank": _RANKS[message.priority],
            "ttl": min(filter(None, (ttl_ms, holds_ms)), default=None), "signature": signature,
            "delay": draft.delay_ms, "at": draft.at_ms, "awaited": draft.awaited_ms,
            "watched": "1" if draft.awaited_ms else None, "reply": message.correlation_id,
            "idem": self._settings.idempotency_ttl_s * 1000 if draft.idempotency_key else None,
            "thread": retain_ms if message.thread_id or draft.task else None, "task": draft.task,
            "open": draft.open or None, "routed": draft.routed or None,
            "schema": SCHEMA if SCHEMA > 1 else None, "pace": self._pace(draft.conversation),
            "once": None if options.require_ack else "1", "transient": None if options.persistent else 1,
        }  # fmt: skip
        return json.dumps({name: value for name, value in spec.items() if value is not None})

    def _pace(self, conversation: str | None) -> dict[str, Json] | None:
        if conversation is None:
            return None
        every_ms = max(1, round(_MINUTE_MS / self._settings.conversation_rate))
        return {"key": self._keys.pace(conversation), "every": every_ms, "ahead": _MINUTE_MS}
