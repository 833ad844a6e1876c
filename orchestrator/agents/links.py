"""The ways from a running handler back to its run, to its message, and to other agents; see `context.Link`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orchestrator.agents.drafts import draft_message
from orchestrator.agents.post import PostOffice
from orchestrator.agents.secrets import Secrets
from orchestrator.errors import LeaseLost
from orchestrator.messages import AgentMessage, content_of
from orchestrator.records import Claim, Draft
from orchestrator.store.patience import NETWORK_ERRORS
from orchestrator.store.runs import Lease, RunStore

Json = Any
_IDS, _VALUES = {"thread_id", "idempotency_key"}, {"metadata", "context"}  # of the options; the others are words
_LOOK_AGAIN_S = 0.5  # how often `ctx.cancelled` asks the store


class Mailing:
    """What every handler may send. `drafts` collects what is stored with the outcome of the attempt.

    Args:
        after: the message that it handles, if it does.
        secrets: are taken out of what it sends.
    """

    def __init__(
        self,
        office: PostOffice,
        agent: str,
        drafts: list[Draft],
        *,
        secrets: Secrets,
        after: AgentMessage | None = None,
    ) -> None:
        self._office = office
        self._agent = agent
        self._after = after
        self.drafts = drafts
        self._secrets = secrets

    def send(self, to: str, content: Json, options: Mapping[str, Any]) -> str:
        told = {"to": to, "sender": self._agent, "content": self._hidden(content), "after": self._after}
        draft = self._office.address(draft_message(self._office.settings, **told, **self._without_secrets(options)))
        if not draft.open:
            self._office.check_known(draft.message.to_agent)
        self.drafts.append(draft)
        return draft.message.message_id

    def ask(self, to: str, content: Json, timeout_s: float, options: Mapping[str, Any]) -> Json:
        told = {"timeout_s": timeout_s, "after": self._after, **self._without_secrets(options)}
        answer = self._office.ask(to, self._hidden(content), sender=self._agent, **told)
        return content_of(answer.body)

    def handoff(self, to: str, task: str, values: Mapping[str, Json], options: Mapping[str, Any]) -> str:
        given = {**self._without_secrets(options), "after": self._after}
        values, context = self._hidden(values), given.pop("context", {})
        draft = self._office.draft_handoff(to, task, values, sender=self._agent, context=context, **given)
        self.drafts.append(draft)
        return draft.message.message_id

    def _hidden(self, value: Json) -> Json:
        return self._secrets.redact_value(value)

    def _without_secrets(self, options: Mapping[str, Any]) -> dict[str, Any]:
        given = dict(options)
        for name in _VALUES & given.keys():
            given[name] = self._hidden(given[name])
        for name in _IDS & given.keys():
            if isinstance(given[name], str):
                given[name] = self._secrets.redact_id(given[name])
        return given


class MessageLink(Mailing):
    """For a handler of messages or of handoffs, which have no run."""

    def __init__(
        self, office: PostOffice, agent: str, message: AgentMessage, drafts: list[Draft], secrets: Secrets
    ) -> None:
        super().__init__(office, agent, drafts, secrets=secrets, after=message)

    def inputs(self) -> Mapping[str, Json]:
        return {}

    def step(self, step_id: str) -> Mapping[str, Json]:
        raise KeyError(step_id)

    def step_ids(self) -> tuple[str, ...]:
        return ()

    def progress(self, fraction: float | None, note: str | None) -> None:
        """Nobody follows a message."""

    def heartbeat(self) -> None:
        """The worker extends the lease by itself."""

    def cancelled(self) -> bool:
        return False


class StoreLink(Mailing):
    """The way from a running handler back to its run, by way of the store (see `context.Link`)."""

    def __init__(
        self, store: RunStore, claim: Claim, worker: str, lease_ms: int, office: PostOffice, drafts: list[Draft],
        secrets: Secrets,
    ) -> None:  # fmt: skip
        super().__init__(office, claim.step.agent, drafts, secrets=secrets)
        self._store = store
        self._claim = claim
        self._worker = worker
        self._lease_ms = lease_ms
        self._cancelled = False
        self._looked_at = 0.0

    def inputs(self) -> Mapping[str, Json]:
        inputs: Mapping[str, Json] = self._store.load_run_scope(self._claim.run_id)["inputs"]
        return inputs

    def step(self, step_id: str) -> Mapping[str, Json]:
        if step_id not in self.step_ids():
            raise KeyError(step_id)
        return self._store.load_view(self._claim.run_id, step_id, beside=self._claim.step_id)

    def step_ids(self) -> tuple[str, ...]:
        return self._store.step_ids(self._claim.run_id)

    def progress(self, fraction: float | None, note: str | None) -> None:
        claim = self._claim
        with suppress(*NETWORK_ERRORS):  # the next one says more; a server that is away must not fail the handler
            if not self._store.note_progress(claim.run_id, claim.step_id, claim.attempt, fraction, self._hidden(note)):
                self._cancelled = True

    def heartbeat(self) -> None:
        claim = self._claim
        self._looked_at = time.monotonic()
        lease = self._store.extend_lease(
            claim.run_id, claim.step_id, worker=self._worker, lease_ms=self._lease_ms, attempt=claim.attempt
        )
        if lease is not Lease.HELD:
            self._cancelled = True
            raise LeaseLost(f"attempt {claim.attempt} of {claim.step_id} does not count any more")

    def cancelled(self) -> bool:
        if not self._cancelled and time.monotonic() - self._looked_at >= _LOOK_AGAIN_S:
            with suppress(LeaseLost, *NETWORK_ERRORS):  # without an answer, it is as it was
                self.heartbeat()
        return self._cancelled
