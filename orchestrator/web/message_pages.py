"""The pages of messages: those of an agent, a thread, dead letters, one message, and its replay."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from orchestrator.client import Client
from orchestrator.durations import duration
from orchestrator.errors import MessageInvalid
from orchestrator.records import MessageRecord
from orchestrator.states import MessageState
from orchestrator.store.correspondence import sent_lately
from orchestrator.web import words
from orchestrator.web.api.route import MOST
from orchestrator.web.handlers import Page

Json = Any
LIMIT = 50
DEAD = "dead-letters"  # what the filter calls those that were neither replayed nor purged
SEE_OTHER = 303


class MessagesPage(Page):
    """Messages that were sent lately, or the dead letters."""

    tab = "Messages"

    async def get(self) -> None:
        asked = {name: self.get_query_argument(name, "") for name in ("agent", "status")}
        after = self.get_query_argument("after", "")
        found, place, dead = await self.ask(_list, asked, after or None)
        filters = {name: text for name, text in asked.items() if text}
        now = words.now_ms()
        self.show(
            "messages.html", rows=[row(record, now) for record in found], asked=asked, dead=dead, first=not after,
            thread_id=None, states=[*MessageState, DEAD], dead_letters=DEAD, filtered=bool(filters),
            newest=f"{self.base}/messages?{urlencode(filters)}",
            older=f"{self.base}/messages?{urlencode({**filters, 'after': place})}" if place else None,
        )  # fmt: skip


class MessagePage(Page):
    """One message: its state, its attempts, its body."""

    tab = "Messages"

    async def get(self, message_id: str) -> None:
        record = await self.ask(Client.message, message_id)
        if record.handoff is not None:
            self.redirect(f"{self.base}/handoffs/{message_id}")
            return
        self.show("message.html", record=record, **details(record))


class ReplayForm(Page):
    """The button of a dead letter. Answers with the page of the new message."""

    tab = "Messages"

    async def post(self, message_id: str) -> None:
        new_id = await self.ask(_replay, message_id)
        self.redirect(f"{self.base}/messages/{new_id}", status=SEE_OTHER)


class ThreadPage(Page):
    """The messages of a thread, oldest first."""

    tab = "Messages"

    async def get(self, thread_id: str) -> None:
        found = await self.ask(_thread, thread_id)
        now = words.now_ms()
        self.show("thread.html", thread_id=thread_id, rows=[row(record, now) for record in found])


def row(record: MessageRecord, now: int) -> dict[str, Json]:
    """What a table shows of a message."""
    message = record.message
    return {
        "id": message.message_id,
        "from": message.from_agent,
        "to": message.to_agent,
        "type": str(message.message_type),
        "priority": message.priority.value,
        "state": record.state.value,
        "age": words.age(message.created_at, now),
        "created": words.moment(message.created_at),
        "thread": message.thread_id,
        "what": words.brief(f"{record.error.type}: {record.error.message}" if record.error else message.body),
        "failed": record.error is not None,
        "replayable": replayable(record),
    }


def details(record: MessageRecord) -> dict[str, Json]:
    """What a page shows of a message, or of a handoff."""
    return {
        "now": words.now_ms(),
        "moment": words.moment,
        "duration": duration,
        "body": words.whole(record.message.body),
        "whole": words.whole,
        "replayable": replayable(record),
    }


def replayable(record: MessageRecord) -> bool:
    """Whether it is a dead letter that was not sent again."""
    return record.state in (MessageState.DEAD, MessageState.FAILED) and not record.replayed_as


def _list(client: Client, asked: dict[str, str], before: str | None) -> tuple[list[MessageRecord], str | None, int]:
    """The messages, the place of the page that follows, and how many dead letters there are."""
    agent, status = asked["agent"].strip() or None, asked["status"]
    if status not in ("", DEAD, *MessageState):
        message = f"no status {status!r}; there is {', '.join(MessageState)}, {DEAD}"
        raise MessageInvalid(message, field="status")
    store, inbox = client.store, client.office.inbox
    with client.asking():
        dead = int(store.client.zcard(store.keys.dead))
        if status == DEAD:
            letters = [
                record for record in inbox.dead_letters()
                if agent in (None, record.message.from_agent, record.message.to_agent)
            ]  # fmt: skip
            return letters, None, dead
        state = MessageState(status) if status else None
        found, place = sent_lately(store.client, store.keys, agent=agent, state=state, before=before, limit=LIMIT)
        return found, place, dead


def _thread(client: Client, thread_id: str) -> list[MessageRecord]:
    with client.asking():
        return client.office.inbox.thread(thread_id, MOST)


def _replay(client: Client, message_id: str) -> str:
    with client.asking():
        return client.office.replay(message_id).message_id
