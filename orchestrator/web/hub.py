"""`EventHub`: one thread waits on the server for the events of all runs that somebody follows here.

A thread for each follower would use up the threads of a small server; a connection for each, those of the store.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.client import Client
from orchestrator.errors import StoreUnavailable
from orchestrator.records import Event
from orchestrator.store.connection import blocking, guard

BLOCK_MS = 200  # how long a run that somebody begins to follow may wait for its first events
AWAY_S = 1.0  # between two looks for a store that does not answer; its followers hear the heartbeats meanwhile
News = list[Event] | None  # None: nothing more will come

log = logging.getLogger(__name__)


class _Follower:
    """One who follows a run, and the place up to which he has its events."""

    def __init__(self, run_id: str, after: str) -> None:
        self.run_id = run_id
        self.after = after
        self.queue: asyncio.Queue[News] = asyncio.Queue()


class EventHub:
    """The followers of one process. Its methods are called on the event loop, but for the thread's own.

    Args:
        client: gives the client, which may take a moment the first time.
    """

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._followers: set[_Follower] = set()
        self._lock = threading.Lock()
        self._running = False

    @contextmanager
    def following(self, run_id: str, after: str) -> Iterator[asyncio.Queue[News]]:
        """A queue of what has happened in a run behind an event, and of what happens. None in it: it is over."""
        follower, loop = _Follower(run_id, after), asyncio.get_running_loop()
        with self._lock:
            self._followers.add(follower)
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, args=(loop,), name="events", daemon=True).start()
        try:
            yield follower.queue
        finally:
            with self._lock:
                self._followers.discard(follower)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        away = False
        try:
            while (followers := self._all()) is not None:
                try:
                    self._look(loop, followers)
                    away = False
                except StoreUnavailable as error:
                    if not away:
                        log.warning("%s", error.message)
                    away = True
                    time.sleep(AWAY_S)  # nothing could wake it: the store is what it waits for
        except Exception:
            log.exception("nobody hears of events any more; a browser asks again")
            self._end(loop)

    def _all(self) -> list[_Follower] | None:
        """Those who follow now. None: nobody, and the thread ends."""
        with self._lock:
            self._running = bool(self._followers)
            return list(self._followers) or None

    def _look(self, loop: asyncio.AbstractEventLoop, followers: list[_Follower]) -> None:
        after: dict[str, str] = {}
        for follower in followers:
            known = after.get(follower.run_id)
            if known is None or _place(follower.after) < _place(known):
                after[follower.run_id] = follower.after
        client = self._client()
        with guard(client.url):
            waiting = blocking(client.url, block_s=BLOCK_MS / 1000, deadline_s=client.settings.deadline_s)
            news = client.store.read_news(waiting, after, block_ms=BLOCK_MS)
        for follower in followers:
            events = [event for event in news.get(follower.run_id, ()) if _place(event.id) > _place(follower.after)]
            if events:
                follower.after = events[-1].id
                loop.call_soon_threadsafe(follower.queue.put_nowait, events)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nobody waits in vain."""
        with self._lock:
            gone, self._followers, self._running = self._followers, set(), False
        if not loop.is_closed():  # the process ends
            for follower in gone:
                loop.call_soon_threadsafe(follower.queue.put_nowait, None)


def _place(event_id: str) -> tuple[int, int]:
    at, _, number = event_id.partition("-")
    return int(at), int(number or 0)
