"""`Schedules`: which workflow starts when. Each has one timer; the keeper acts on it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import redis

from orchestrator.store.connection import server_now_ms
from orchestrator.store.keys import Keys
from orchestrator.store.scripts import Scripts

Json = Any


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule. `plan` is the hash of the definition; times are ms since the epoch, UTC.

    `next_ms` is None when the line is never due again. `last_run` is the newest run it started, `skipped` how many due
    times started none, because the run before was not over.
    """

    name: str
    plan: str
    workflow: str
    cron: str
    timezone: str
    overlap: str
    catchup: str
    inputs: dict[str, Json]
    next_ms: int | None
    last_ms: int | None = None
    last_run: str | None = None
    skipped: int = 0


class Schedules:
    """The schedules of one server."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client  # see RunReader
        self._keys = keys
        self._scripts = Scripts(client)

    def put(self, schedule: Schedule, children: list[str]) -> None:
        """Set up a schedule, or replace the one of its name. Its plan and those of its children must be stored.

        Script: put_schedule.lua, O(children).
        """
        pins = [self._keys.plan(plan) for plan in (schedule.plan, *children)]
        self._put(schedule.name, json.dumps(asdict(schedule) | {"pins": pins}), schedule.next_ms)

    def remove(self, name: str) -> bool:
        """False: there was none. Script: put_schedule.lua."""
        return bool(self._put(name, "", None))

    def moved_on(self, before: Schedule, after: Schedule) -> bool:
        """What was due is done. False: somebody else has seen to it, or changed it. Script: put_schedule.lua."""
        text = json.dumps(asdict(after))
        return bool(self._put(before.name, text, after.next_ms, str(before.next_ms)))

    def read(self, name: str) -> Schedule | None:
        text = self._client.hget(self._keys.schedules, name)
        return _schedule(text) if text else None

    def all(self) -> list[Schedule]:
        """Every schedule, by name."""
        found = self._client.hgetall(self._keys.schedules)
        return [_schedule(found[name]) for name in sorted(found)]

    def now_ms(self) -> int:
        """The server's clock."""
        return server_now_ms(self._client)

    def _put(self, name: str, text: str, next_ms: int | None, expected: str = "") -> Any:
        keys = [self._keys.schedules, self._keys.timers, self._keys.wake]
        due = "" if next_ms is None else next_ms
        return self._scripts.call("put_schedule", keys, [name, text, due, expected])


def _schedule(text: str) -> Schedule:
    data = json.loads(text)
    return Schedule(**{name: value for name, value in data.items() if name in Schedule.__slots__})


def started(schedule: Schedule, *, at_ms: int, run_id: str | None, next_ms: int | None) -> Schedule:
    """The schedule after a due time; `run_id` None: it was skipped."""
    after = replace(schedule, next_ms=next_ms, last_ms=at_ms)
    return replace(after, last_run=run_id) if run_id else replace(after, skipped=after.skipped + 1)
