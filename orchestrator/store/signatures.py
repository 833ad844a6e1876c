"""What the sender of a message signs, and what is checked before a handler sees it; see docs/decisions/0018.

A signature is `TIME FROM MAC`: ms when it was signed and from when it holds, by the sender's clock, and the HMAC-SHA256
with the sender's key of both and of the message as it lies on the server. No text is composed again to check it.
"""

from __future__ import annotations

import hmac
import json
import re
import time
from dataclasses import replace
from hashlib import sha256

from orchestrator.errors import BadSignature, NotYourMessage, SignatureTooOld
from orchestrator.identity import Key, read_key
from orchestrator.records import Draft, MessageRecord
from orchestrator.settings import Settings
from orchestrator.store.letters import Stored
from orchestrator.store.routing import agent_of

ADVICE = "orchestrator keys create --file FILE, then ORCHESTRATOR_KEY_FILE=FILE; docs/messages.md, identity"
SKEW_MS = 300_000  # how far a sender's clock may be ahead
_FORM = re.compile(r"([0-9]{1,15}) ([0-9]{1,15}) ([0-9a-f]{64})")


class Signatures:
    """Those of one process; without a key file it signs nothing and checks nothing.

    Attributes:
        key: the process's own.
        window_ms: how long a signature holds.
    """

    def __init__(self, settings: Settings) -> None:
        self.key: Key | None = read_key(settings.key_file) if settings.key_file else None
        # A message is remembered for its retention; after that only its age tells that it was there before.
        self.window_ms = (settings.replay_window_s or settings.message_retention_s) * 1000

    def sign(self, draft: Draft, envelope: str, body: str) -> tuple[str, int] | None:
        """The signature of a message that is to be stored, and the ms it holds from now; None without a key.

        Raises:
            SenderMismatch: the key is of another agent than the sender.
        """
        if self.key is None:
            return None
        message, now = draft.message, _now_ms()
        begins = draft.at_ms or now + (draft.delay_ms or 0)
        stored = Stored(
            message.message_id, message.from_agent, message.to_agent, str(message.message_type),
            message.priority.value, draft.box, draft.task or "", envelope, body,
        )  # fmt: skip
        return self._signature(stored, now, begins), max(1, begins - now + self.window_ms)

    def adopted(self, stored: Stored, due_ms: int) -> str:
        """The signature of a message that was stored without one. Only the installation's key may vouch for it."""
        now = _now_ms()
        return self._signature(stored, now, max(now, due_ms))

    def renewed(self, stored: Stored, *, to: str, box: str) -> str:
        """The signature of a message that goes on to another inbox; one that is not in order stays as it is."""
        form = _FORM.fullmatch(stored.signature)
        if self.key is None or form is None or not self._is_good(stored, form):
            return stored.signature
        return self._signature(replace(stored, to=to, box=box), int(form[1]), int(form[2]))

    def check(self, stored: Stored, *, now_ms: int | None = None) -> None:
        """See that a message is its sender's. Only the installation's key can: it has the keys of all.

        Args:
            now_ms: the server's time; None: whether the signature still holds does not matter.
        Raises:
            BadSignature. SignatureTooOld.
        """
        if self.key is None or self.key.agent is not None:
            return
        form = _FORM.fullmatch(stored.signature)
        if form is None:
            raise BadSignature("has no signature")
        if not self._is_good(stored, form):
            raise BadSignature(f"is not signed with the key of {stored.sender!r}")
        if now_ms is not None and max(int(form[1]), int(form[2])) > now_ms + SKEW_MS:
            raise BadSignature("is signed for a time to come")
        if now_ms is not None and int(form[2]) + self.window_ms < now_ms:
            raise SignatureTooOld("was signed too long ago")

    def allow(self, box: str) -> None:
        """Raises NotYourMessage: the key is of another agent than the one whose messages are to be taken or closed."""
        if self.key is not None and self.key.agent not in (None, agent_of(box)):
            message = f"the messages of {agent_of(box)!r} are not for {self.key.agent!r}, whose key this is"
            raise NotYourMessage(message, agent=agent_of(box))

    def may_see(self, record: MessageRecord) -> bool:
        """Whether the message is from, or for, whoever the key is of."""
        message = record.message
        return self.key is None or self.key.agent in (None, message.from_agent, message.to_agent, record.owner)

    def _is_good(self, stored: Stored, form: re.Match[str]) -> bool:
        wanted = self._signature(stored, int(form[1]), int(form[2]))
        return hmac.compare_digest(wanted, stored.signature)

    def _signature(self, stored: Stored, at_ms: int, begins_ms: int) -> str:
        assert self.key is not None
        parts = [
            "orchestrator-message-1", at_ms, begins_ms, stored.id, stored.sender, stored.to, stored.kind,
            stored.priority, stored.box, stored.task, stored.envelope, sha256(stored.body.encode()).hexdigest(),
        ]  # fmt: skip
        mac = self.key.of(stored.sender).sign(json.dumps(parts).encode())
        return f"{at_ms} {begins_ms} {mac}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
