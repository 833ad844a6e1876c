"""Listeners of a bus: functions that hear of announcements and of messages, by the word of their type.

Announcements (agents that start and stop, tasks that start and end) are read from the journal, not from inboxes.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from orchestrator.agents.post import PostOffice
from orchestrator.messages import AgentMessage, MessageType
from orchestrator.records import JournalEntry
from orchestrator.store.journal import Journal

Json = Any
Listener = Callable[[AgentMessage], object]
log = logging.getLogger(__name__)
EVERYTHING = "*"
_BLOCK_MS = 500

#: event of the journal -> (word that listeners use, type of the announcement)
ANNOUNCED = {
    "agent.started": ("agent_started", MessageType.AGENT_STARTED),
    "agent.stopped": ("agent_stopped", MessageType.AGENT_STOPPED),
    "handoff.started": ("task_started", MessageType.TASK_UPDATE),
    "handoff.completed": ("task_completed", MessageType.TASK_COMPLETION),
    "handoff.failed": ("task_failed", MessageType.TASK_UPDATE),
    "handoff.declined": ("task_declined", MessageType.TASK_UPDATE),
    "handoff.expired": ("task_expired", MessageType.TASK_UPDATE),
}


class Listeners:
    """The listeners of one bus. The thread that reads the journal starts with the first of them."""

    def __init__(self, office: PostOffice) -> None:
        self._office = office
        self._journal = Journal(office.inbox.client, office.inbox.keys)
        self._by_word: dict[str, list[Listener]] = defaultdict(list)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self, word: MessageType | str, listener: Listener) -> None:
        """Call a function with every message or announcement of this type from now on; `*` for all."""
        self._by_word[str(word).lower()].append(listener)
        if self._thread is None:
            newest = self._journal.newest()
            self._thread = threading.Thread(target=self._follow, args=(newest,), name="listeners", daemon=True)
            self._thread.start()

    def off(self, word: MessageType | str, listener: Listener) -> None:
        """Forget a listener."""
        self._by_word[str(word).lower()].remove(listener)

    def wants(self, word: str) -> bool:
        return bool(self._by_word.get(word) or self._by_word.get(EVERYTHING))

    def tell(self, message: AgentMessage, *words: str) -> None:
        """Call everybody who listens to one of these words. An error of one is logged, and the others hear it too."""
        for listener in {id(f): f for word in (*words, EVERYTHING) for f in tuple(self._by_word[word])}.values():
            try:
                listener(message)
            except Exception:
                log.exception("a listener of %s failed", words[0])

    def close(self) -> None:
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2)

    def _follow(self, after: str) -> None:
        while not self._ended.is_set():
            try:
                for entry in self._journal.wait(self._office.blocking(), after, _BLOCK_MS):
                    after = entry.id
                    self._announce(entry)
            except Exception as error:
                log.warning("listeners: %s", error)
                self._ended.wait(1)

    def _announce(self, entry: JournalEntry) -> None:
        if entry.name not in ANNOUNCED:
            return
        word, kind = ANNOUNCED[entry.name]
        names = {"handoff": "task_id", "agent": "agent", "from": "from_agent", "to": "to_agent", "task": "task"}
        body = {"type": word} | {ours: entry.data[name] for name, ours in names.items() if name in entry.data}
        agent = entry.data.get("agent", "")
        message = AgentMessage(entry.id, agent, EVERYTHING, kind, body, created_at=entry.at)
        self.tell(message, word, str(kind))
