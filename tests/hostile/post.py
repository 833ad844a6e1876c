"""An installation whose messages are signed: offices with the keys of different people on one real server, and what
somebody does who writes to that server himself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import redis

from orchestrator.agents.post import PostOffice
from orchestrator.identity import Key, write_key
from orchestrator.messages import AgentMessage
from orchestrator.records import Delivery
from orchestrator.runtime.doorbells import doorbell
from orchestrator.settings import Settings
from orchestrator.store.connection import blocking
from orchestrator.store.directory import Directory, boxes_of
from orchestrator.store.inbox import Inbox
from tests.conftest import KEYS

AGENTS = ("ada", "bob", "cleo", "boss", "intern")


class Installation:
    """Offices on one server.

    Args:
        folder: where the key files go.
    """

    def __init__(self, client: redis.Redis, url: str, folder: Path, **options: Any) -> None:
        self.client = client
        self._url = url
        self._folder = folder
        self._options = options
        self.key = Key.new()
        self.worker = self.office(self.key)
        for name in AGENTS:
            self.worker.directory.register(name)

    def office(self, key: Key | None) -> PostOffice:
        """The office of a process that has this key; None: none."""
        file = None
        if key is not None:
            file = self._folder / f"{key.agent or 'installation'}.key"
            if not file.exists():
                write_key(file, key)
        settings = Settings(lease_s=1, key_file=file, **self._options)
        inbox = Inbox(self.client, KEYS, settings, doorbell)
        directory = Directory(self.client, KEYS, lease_ms=1000)
        wait = lambda: blocking(self._url, block_s=0.5)  # noqa: E731
        return PostOffice(inbox, directory, settings, blocking=wait, publish=lambda posted: None)

    def of(self, agent: str) -> PostOffice:
        """The office of a client that has the key of one agent."""
        return self.office(self.key.of(agent))

    def hear(self, agent: str) -> list[AgentMessage]:
        """What the handler of an agent gets: everything that waits, acknowledged."""
        heard = []
        while (delivery := self.take(agent)) is not None:
            heard.append(delivery.message)
            self.worker.inbox.finish(delivery.message.message_id, "acknowledged", receiver="worker", box=delivery.box)
        return heard

    def take(self, agent: str) -> Delivery | None:
        return self.worker.inbox.claim(boxes_of(agent), receiver="worker", lease_ms=60_000)

    def copy_record(self, message_id: str, new_id: str, **fields: Any) -> None:
        """Write a message once more, past every program of ours."""
        found = self.client.hgetall(KEYS.message(message_id))
        box = str(fields.get("box", found["box"]))
        found |= {"id": new_id, "state": "pending", "attempt": "0", **{name: str(v) for name, v in fields.items()}}
        self.client.delete(KEYS.message(new_id))
        self.client.hset(KEYS.message(new_id), mapping=found)
        self.client.zadd(KEYS.inbox(box), {new_id: float(found["place"])})

    def forget(self, message_id: str) -> None:
        """As after the retention."""
        self.client.delete(KEYS.message(message_id))

    def quarantined(self) -> list[dict[str, Any]]:
        """What is in quarantine: `reason`, and the fields of the message."""
        entries = [json.loads(value.partition(" ")[2]) for value in self.client.hvals("quarantine")]
        return sorted(entries, key=lambda entry: str(entry["reason"]))
