"""The events of a run as server-sent events: what has happened, then what happens, until the run ends."""

from __future__ import annotations

import asyncio
import json
import re
from http import HTTPStatus

from tornado.iostream import StreamClosedError

from orchestrator.client import Client
from orchestrator.documents import event_document
from orchestrator.errors import MessageInvalid
from orchestrator.events import RUN_ENDS
from orchestrator.records import Event
from orchestrator.web.api.handler import ApiHandler

BEGINNING = "0"
HEARTBEAT_S = 15.0  # a proxy that sees nothing for a minute closes the connection
RETRY_MS = 2000  # when a browser asks again after the connection broke
_PLACE = re.compile("[0-9]{1,15}(-[0-9]{1,15})?")


class EventsHandler(ApiHandler):
    """One follower of one run."""

    async def get(self, **path: str) -> None:
        query, _ = self._read(self._route())
        # A browser names the last event only when it comes back; the address then still says where it began.
        after = self.request.headers.get("Last-Event-ID") or query["after"] or BEGINNING
        if not _PLACE.fullmatch(after):
            raise MessageInvalid(f"{after[:40]!r} is no id of an event", field="Last-Event-ID")
        over, left = await self.ask(_what_is_left, path["run"], after)
        if over and not left:
            self.set_status(HTTPStatus.NO_CONTENT)  # tells a browser not to come back
            self.clear_header("Content-Type")
            return
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        self.write(f"retry: {RETRY_MS}\n\n")
        try:
            await self._tell(left) if over else await self._follow(path["run"], after)
        except StreamClosedError:
            return

    async def _follow(self, run_id: str, after: str) -> None:
        with self.site.hub.following(run_id, after) as news:
            self._wake = news
            await self.flush()
            while True:
                try:
                    events = await asyncio.wait_for(news.get(), HEARTBEAT_S)
                except TimeoutError:
                    self.write(": still here\n\n")
                    await self.flush()
                    continue
                if events is None:
                    return
                await self._tell(events)
                if any(event.name in RUN_ENDS for event in events):
                    return

    async def _tell(self, events: list[Event]) -> None:
        for event in events:
            data = json.dumps(event_document(event), ensure_ascii=False)
            self.write(f"event: {event.name}\nid: {event.id}\ndata: {data}\n\n")
        await self.flush()

    def on_connection_close(self) -> None:
        if (wake := getattr(self, "_wake", None)) is not None:
            wake.put_nowait(None)


def _what_is_left(client: Client, run_id: str, after: str) -> tuple[bool, list[Event]]:
    """Whether the run is over; and if so, its events behind a place. Raises RunNotFound."""
    if not client.run(run_id).record().state.terminal:
        return False, []
    with client.asking():
        return True, client.store.read_events(run_id, after=after)
