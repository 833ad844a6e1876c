"""The pages of handoffs: all of them, and one with its chain of custody."""

from __future__ import annotations

from typing import Any

from orchestrator.client import Client
from orchestrator.errors import MessageInvalid
from orchestrator.records import MessageRecord
from orchestrator.states import HandoffState
from orchestrator.web import words
from orchestrator.web.handlers import Page
from orchestrator.web.message_pages import details

Json = Any
SHOWN = 200  # the newest


class HandoffsPage(Page):
    """The newest handoffs."""

    tab = "Handoffs"

    async def get(self) -> None:
        status = self.get_query_argument("status", "")
        if status not in ("", *HandoffState):
            message = f"no status {status!r}; there is {', '.join(HandoffState)}"
            raise MessageInvalid(message, field="status")
        found, now = await self.ask(_list), words.now_ms()
        rows = [_row(record, now) for record in found if status in ("", record.handoff)]
        self.show("handoffs.html", rows=rows[:SHOWN], asked={"status": status}, states=[*HandoffState], shown=SHOWN,
                  more=len(rows) > SHOWN)  # fmt: skip


class HandoffPage(Page):
    """One handoff: who has it, who had it, what came of it."""

    tab = "Handoffs"

    async def get(self, task_id: str) -> None:
        record = await self.ask(Client.message, task_id)
        if record.handoff is None:
            self.redirect(f"{self.base}/messages/{task_id}")
            return
        offer = record.message.body
        self.show(
            "handoff.html", record=record, given=words.whole(offer.get("with", {})),
            context=words.whole(offer.get("context", {})), **details(record),
        )  # fmt: skip


def _list(client: Client) -> list[MessageRecord]:
    with client.asking():
        return client.office.inbox.handoffs()


def _row(record: MessageRecord, now: int) -> dict[str, Json]:
    message = record.message
    return {
        "id": message.message_id,
        "task": record.task or "",
        "from": message.from_agent,
        "to": message.to_agent,
        "owner": record.owner or "",
        "state": record.handoff.value if record.handoff else "",
        "priority": message.priority.value,
        "age": words.age(message.created_at, now),
        "created": words.moment(message.created_at),
        "hands": len(record.custody),
    }
