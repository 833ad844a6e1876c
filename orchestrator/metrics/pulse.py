"""What goes on just now, read again and again at little cost: who waits and runs, which runs are open, and how fast.

What a server has to do for one beat does not grow with the runs that are kept: once, at the beginning, those that are
open are looked for; later beats read the newest runs and those that were open.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.client import Client
from orchestrator.records import JournalEntry, RunRecord
from orchestrator.states import RunState
from orchestrator.store.connection import guard
from orchestrator.store.journal import BEGINNING, Journal
from orchestrator.store.load import AgentLoad

NEWEST = 20  # runs that every beat reads
NEWEST_AFTER_MANY = 500  # and so many when all of these are new
MOST_OPEN = 50  # open runs that a beat reads again, in turn; of more the states are some beats old
MOST_FAILED = 20  # failed runs that are kept
MOST_ENTRIES = 500  # of the journal, in one beat; of more it is taken that the rest are like these
OPEN = (RunState.RUNNING, RunState.PAUSED, RunState.PENDING)

_STEPS = frozenset({"step.succeeded", "step.failed", "step.retrying"})
_MESSAGES = frozenset({"message.acknowledged", "message.failed", "message.dead", "message.expired"})


@dataclass(frozen=True, slots=True)
class Rates:
    """How many a second have ended: attempts of steps, runs, messages; over how many seconds that was counted."""

    steps: float
    runs: float
    messages: float
    over_s: float


@dataclass(frozen=True, slots=True)
class Beat:
    """One moment. `open` are the runs that are not over, the newest first; `failed` those that failed last.

    `active` is how many attempts of an open run are at work; 0: it waits for a time, a signal, a worker or a place.
    """

    at: int
    agents: Sequence[AgentLoad]
    open: Sequence[RunRecord]
    active: Mapping[str, int]
    failed: Sequence[RunRecord]
    dead_letters: int
    rates: Rates | None


class Pulse:
    """Reads one beat after the other."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._journal = Journal(client.store.client, client.store.keys)
        self._open: dict[str, RunRecord] | None = None
        self._active: dict[str, int] = {}
        self._failed: dict[str, RunRecord] = {}
        self._newest: str | None = None  # "" where there was no run
        self._turn = 0
        self._counted: tuple[float, int, int] | None = None
        self._position = BEGINNING

    def beat(self) -> Beat:
        """Read what goes on now. `rates` is None the first time, and after an error.

        Six round trips, one more for each 100 agents, and a command for each open run.
        Raises:
            StoreUnavailable.
        """
        try:
            return self._beat()
        except Exception:
            self._open = self._counted = None  # what happened meanwhile is looked for as at the beginning
            raise

    def _beat(self) -> Beat:
        agents = self._client.loads()
        open_runs = self._runs()
        with guard(self._client.url):
            now, ended, dead = self._client.store.read_totals()
            rates = self._rates(ended)
        failed = sorted(self._failed.values(), key=_ended)
        return Beat(now, agents, sorted(open_runs.values(), key=_age), dict(self._active), failed, dead, rates)

    def _rates(self, ended: int) -> Rates | None:
        at = time.monotonic()
        count, newest, entries = self._journal.since(self._position, MOST_ENTRIES if self._counted else 1)
        before, self._counted, self._position = self._counted, (at, count, ended), newest
        if before is None or at <= before[0]:
            return None
        over_s, happened = at - before[0], count - before[1]
        share = happened / len(entries) if entries else 0.0
        steps, messages = (_count(entries, names) * share / over_s for names in (_STEPS, _MESSAGES))
        return Rates(steps, (ended - before[2]) / over_s, messages, over_s)

    def _runs(self) -> dict[str, RunRecord]:
        """The open runs, by id. Those that have ended since the last beat are looked at for failures."""
        if self._open is None:
            found = [run for state in OPEN for run in self._client.runs(status=state, limit=NEWEST_AFTER_MANY)]
            self._open = {run.id: run for run in found}
            self._failed = {run.id: run for run in self._client.runs(status=RunState.FAILED, limit=MOST_FAILED)}
        newest = self._client.runs(limit=NEWEST)
        # By its place: ids are made by clients, and need not rise in the order of the list.
        if len(newest) == NEWEST and self._newest is not None and self._newest not in {run.id for run in newest}:
            newest = self._client.runs(limit=NEWEST_AFTER_MANY)
        self._newest = newest[0].id if newest else ""
        for run in newest:
            self._take(self._open, run)
        self._read_again(self._open)
        return self._open

    def _read_again(self, open_runs: dict[str, RunRecord]) -> None:
        """Look at what was open; a run that is gone altogether is forgotten."""
        wanted = sorted(open_runs)
        if len(wanted) > MOST_OPEN:
            begin = self._turn % len(wanted)
            wanted = (wanted[begin:] + wanted[:begin])[:MOST_OPEN]
            self._turn = begin + MOST_OPEN
        with guard(self._client.url):
            found = self._client.store.read_runs(wanted) if wanted else []
        for run_id in wanted:
            open_runs.pop(run_id)
        for run, active in found:
            self._active[run.id] = active
            self._take(open_runs, run)
        self._active = {run_id: active for run_id, active in self._active.items() if run_id in open_runs}

    def _take(self, open_runs: dict[str, RunRecord], run: RunRecord) -> None:
        if not run.state.terminal:
            open_runs[run.id] = run
            return
        open_runs.pop(run.id, None)
        if run.state is RunState.FAILED:
            self._failed[run.id] = run
        for old in sorted(self._failed.values(), key=_ended)[MOST_FAILED:]:
            del self._failed[old.id]


def _count(entries: Sequence[JournalEntry], names: Collection[str]) -> int:
    return sum(entry.name in names for entry in entries)


def _age(run: RunRecord) -> int:
    return -run.created_at


def _ended(run: RunRecord) -> int:
    return -(run.finished_at or 0)
