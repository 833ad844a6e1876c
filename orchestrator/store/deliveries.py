"""What a claim has brought is opened here, and checked before anybody sees it; what is not in order goes aside.

It is checked after the claim, on the very texts that the handler gets: what was looked at before could be changed
between, and would be a round trip more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.errors import BadSignature, MessageInvalid, OrchestratorError, SignatureTooOld
from orchestrator.ids import new_id
from orchestrator.records import Delivery, StepError
from orchestrator.store.keys import Keys
from orchestrator.store.letters import Stored
from orchestrator.store.quarantine import KEY, Quarantine, entry_of
from orchestrator.store.scripts import Scripts
from orchestrator.store.signatures import Signatures

Json = Any


class Deliveries:
    """Of one server.

    Args:
        commons, options: what the scripts of messages want first.
    """

    def __init__(self, client: Any, keys: Keys, signatures: Signatures, commons: Sequence[str], options: str) -> None:
        self._client = client
        self._keys = keys
        self._signatures = signatures
        self._commons = commons
        self._options = options
        self._scripts = Scripts(client)

    def open(self, reply: Sequence[Json], receiver: str, boxes: Sequence[str]) -> Delivery | None:
        """What a script of a claim has returned; None: it was not in order, and is in quarantine or expired now.

        Args:
            boxes: in which of them it may have been.
        """
        message_id, *claimed = reply
        if not claimed:
            self._put_away(message_id)
            return None
        attempt, failures, late, now_ms, *texts = claimed
        stored = Stored(message_id, *texts)
        try:
            if stored.box not in boxes:
                raise BadSignature("lay in the inbox of another agent")
            self._signatures.check(stored, now_ms=now_ms)
            return Delivery(stored.read(), attempt, failures, receiver, stored.box, bool(late), stored.task or None)
        except SignatureTooOld as error:
            self._refuse(stored, attempt, receiver, "expired", error)
        except BadSignature as error:
            self._refuse(stored, attempt, receiver, "failed", error, f"bad_signature: {error.message}")
        except MessageInvalid as error:
            self._refuse(stored, attempt, receiver, "failed", error, f"cannot be read: {error.message}")
        return None

    def _refuse(
        self, stored: Stored, attempt: int, receiver: str, state: str, error: OrchestratorError, reason: str = ""
    ) -> None:
        failure = StepError(type(error).__name__, f"the message {error.message}", stored.id, attempt)
        aside = [new_id(), entry_of(json.dumps(asdict(stored)).encode(), stored.box, reason)] if reason else ["", ""]
        keys = [*self._commons, self._keys.message(stored.id), self._keys.bell(stored.id), KEY]
        args = [self._options, attempt, receiver, state, json.dumps(failure.to_json()), *aside]
        self._scripts.call("refuse_message", keys, args)

    def _put_away(self, message_id: str) -> None:
        fields = self._client.hgetall(self._keys.message(message_id))
        reason = "cannot be read: it is no record of a message"
        Quarantine(self._client).put(json.dumps(fields).encode(), str(fields.get("box", "")), reason)
