"""`Timers`: what is due, and which messages seem lost. The keeper asks; nobody else does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from orchestrator.errors import StoreUnavailable
from orchestrator.store.keys import Keys
from orchestrator.store.patience import NETWORK_ERRORS
from orchestrator.store.scripts import Scripts


@dataclass(frozen=True, slots=True)
class Timer:
    """One thing to do. `kind` is lease, retry, timeout, decide, run or schedule; `member` is its entry in the zset.

    A timer of a schedule has its name as `run_id`. A timer of a message has the message's id as `run_id` and its box as
    `step_id`; `kind` is lease, due or ttl.
    """

    kind: str
    run_id: str
    step_id: str
    attempt: int
    member: str


@dataclass(frozen=True, slots=True)
class Place:
    """Who keeps. `alone`: nobody stands by; `left_ms`: until the place falls vacant, where another one holds it.

    `holder` is who held it when it was looked at: '' nobody.
    """

    mine: bool
    holder: str
    alone: bool = False
    left_ms: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """What `take_due` found. `next_ms` is the time until the next timer, None if there is none."""

    timers: tuple[Timer, ...]
    next_ms: int | None
    unclaimed: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """A dispatched step whose message is probably lost. `member` is its entry in the ready zset."""

    run_id: str
    step_id: str
    member: str


@dataclass(frozen=True, slots=True)
class LostRing:
    """A ring that no worker has received. `member` is its entry in the zset of rings."""

    box: str
    priority: str
    message_id: str
    member: str


class Timers:
    """The timers and the dispatch records of one server."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client  # see RunReader
        self._keys = keys
        self._scripts = Scripts(client)

    def lead(self, name: str, *, alone_ms: int, shared_ms: int) -> Place:
        """Become the keeper, or stay it; otherwise stand by.

        Args:
            alone_ms: until the place falls vacant if the keeper dies and nobody stands by.
            shared_ms: the same where somebody does. Who stands by looks again when it would be vacant.
        Script: lead.lua.
        """
        keys = [self._keys.keeper, self._keys.standby, self._keys.wake]
        mine, told, holder = self._scripts.call("lead", keys, [name, alone_ms, shared_ms, 3 * shared_ms])
        return Place(True, holder, alone=bool(told)) if mine else Place(False, holder, left_ms=told)

    def quiet(self) -> bool:
        """Whether there is a keeper, and nothing that one could do or that could become due, and nobody who stands by.

        One command: this is all that a keeper asks for as long as nothing happens.
        """
        work = [
            self._keys.standby, self._keys.timers, self._keys.message_timers, self._keys.ready, self._keys.rings,
            self._keys.parked,
        ]  # fmt: skip
        place = [self._keys.keeper] * (len(work) + 1)  # a key counts as often as it is named: more than all the others
        return bool(self._client.exists(*place, *work) == len(place))

    def resign(self, name: str) -> None:
        """Leave the place to the next one at once."""
        if self._client.get(self._keys.keeper) == name:
            self._client.delete(self._keys.keeper)

    def take_due(self, *, limit: int, hold_ms: int) -> Due:
        """Take timers that are due; each comes back after `hold_ms` unless it was dropped. Script: take_due.lua."""
        return self._take_due(self._keys.timers, limit, hold_ms)

    def take_due_messages(self, *, limit: int, hold_ms: int) -> Due:
        """The same for messages; `unclaimed` counts the rings that no worker has received."""
        return self._take_due(self._keys.message_timers, limit, hold_ms)

    def _take_due(self, key: str, limit: int, hold_ms: int) -> Due:
        waiting = self._keys.ready if key == self._keys.timers else self._keys.rings
        reply = self._scripts.call("take_due", [key, waiting], [limit, hold_ms])
        next_ms, unclaimed, *members = reply
        timers = []
        for member in members:
            kind, run_id, step_id, attempt = member.split(" ")
            timers.append(Timer(kind, run_id, step_id, int(attempt), member))
        return Due(tuple(timers), None if next_ms < 0 else int(next_ms), int(unclaimed))

    def drop(self, timer: Timer) -> None:
        """Forget a timer whose run is gone."""
        self._client.zrem(self._keys.timers, timer.member)

    def forget(self, suspect: Suspect) -> None:
        """Forget a dispatch whose run is gone."""
        self._client.zrem(self._keys.ready, suspect.member)

    def wait(self, blocking: Any, timeout_s: float) -> bool:
        """Sleep until something is due soon, at most `timeout_s`. Whether the keeper was woken before that."""
        return blocking.blpop([self._keys.wake], timeout=timeout_s) is not None

    def wake(self) -> None:
        """Have the keeper look at once."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.lpush(self._keys.wake, "1")
            pipe.ltrim(self._keys.wake, 0, 0)
            pipe.execute()

    def queues(self) -> list[tuple[str, str]]:
        """(agent, priority) of every queue that ever had a step."""
        fields = self._client.hkeys(self._keys.queues)
        marks = [field.split(" ") for field in fields if field.startswith("mark ")]
        return [(agent, priority) for _, agent, priority in marks]

    def find_lost(self, queues: Sequence[tuple[str, str, bool]], *, grace_ms: int) -> list[Suspect]:
        """Steps dispatched over `grace_ms` ago whose message is probably lost.

        Args:
            queues: agent, priority, and whether the queue of that pair is empty on the broker.
        Script: find_lost.lua, O(queues log n).
        """
        found = self._find_lost(self._keys.ready, queues, grace_ms)
        return [Suspect(part[3], part[4], member) for part, member in found]

    def find_lost_rings(self, queues: Sequence[tuple[str, str, bool]], *, grace_ms: int) -> list[LostRing]:
        """Rings sent over `grace_ms` ago that are probably lost; otherwise as `find_lost`."""
        found = self._find_lost(self._keys.rings, queues, grace_ms)
        return [LostRing(part[3], part[1], part[4], member) for part, member in found]

    def _find_lost(
        self, key: str, queues: Sequence[tuple[str, str, bool]], grace_ms: int
    ) -> list[tuple[list[str], str]]:
        args: list[str | int] = [grace_ms]
        for agent, priority, empty in queues:
            args += [f"{agent} {priority}", int(empty)]
        members = self._scripts.call("find_lost", [key, self._keys.queues], args)
        return [(parts, member) for member in members if len(parts := member.split(" ")) == 5]


def do_each(timers: Iterable[Timer], action: Callable[[Timer], None]) -> None:
    """Do what is due, all of it: the first error is raised when the others are done, that of a server away at once."""
    failed: Exception | None = None
    for timer in timers:
        try:
            action(timer)
        except (*NETWORK_ERRORS, StoreUnavailable):
            raise
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed
