"""The judge: reads what senders and handlers saw, then the state of the system, and says what does not fit.

The invariants have the numbers of docs/reliability.md. A broken one is a line in `Verdict.broken`; `require` fails with
all of them.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator import Client
from orchestrator.records import MessageRecord, RunRecord
from orchestrator.states import MessageState, RunState
from orchestrator.store.journal import Journal
from tests.faults.oracle import Book, Fate, Try

Json = Any
ENOUGH = 0.8  # of what was attempted must be accepted, or an outage would pass
AT_ONCE = 1000  # items asked for in one round trip
SHOWN = 5  # examples of what is broken
#: The entries of the journal that end something, and what they end.
_ENDS = {f"message.{state}": "message" for state in ("acknowledged", "failed", "expired", "dead")} | {
    f"run.{state}": "run" for state in ("succeeded", "failed", "cancelled")
}


@dataclass
class Verdict:
    """What came out: counts, times in seconds, and a line for everything that is broken."""

    counts: dict[str, int]
    takeover_s: list[float]
    recovery_s: list[float]
    latency_s: list[float]
    broken: list[str] = field(default_factory=list)

    def require(self) -> None:
        """AssertionError with everything that is broken."""
        assert not self.broken, "\n".join(["broken:", *self.broken, str(self.counts)])

    @property
    def recovery(self) -> dict[str, dict[str, float]]:
        """p50, p95 and max of each kind of time that was measured."""
        kinds = {"takeover_s": self.takeover_s, "recovery_s": self.recovery_s, "latency_s": self.latency_s}
        return {name: summary(times) for name, times in kinds.items() if times}


def percentile(times: Sequence[float], share: float) -> float:
    """The smallest value that so many are not above; 0 of nothing."""
    ordered = sorted(times)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def summary(times: Sequence[float]) -> dict[str, float]:
    found = {"p50": percentile(times, 0.5), "p95": percentile(times, 0.95), "max": max(times, default=0.0)}
    return {name: round(value, 3) for name, value in found.items()} | {"n": len(times)}


class Checker:
    """Compares the oracle with the system.

    Args:
        outputs: what the outputs of the run of a key must be (I6).
        steps: the places of a run's steps, each of which needs the ones before it.
        endings: how the item of a key may end; None: `acknowledged` and `succeeded`, nothing else.
    """

    def __init__(
        self, client: Client, oracle: Path, *, outputs: Callable[[str], Json] | None = None,
        steps: Sequence[str] = (), endings: Callable[[str], Iterable[str] | None] = lambda key: None,
    ) -> None:  # fmt: skip
        self._client = client
        self._oracle = oracle
        self._outputs = outputs
        self._steps = steps
        self._endings = endings
        self._over: dict[str, str] = {}  # id -> the state in which it was first seen over

    # --- quiescence ------------------------------------------------------------------------------------------------

    def settle(self, timeout_s: float) -> bool:
        """Wait until everything accepted is over. False: it is not after `timeout_s`; `judge` then says what."""
        until_s = time.monotonic() + timeout_s
        accepted = [fate for fate in Book.read(self._oracle).fates.values() if fate.id]
        while True:
            waiting = [fate for fate in accepted if fate.id not in self._over]
            for fate, state in zip(waiting, self._states(waiting), strict=True):
                if state in _TERMINAL[fate.kind]:
                    self._over[str(fate.id)] = state
            if len(self._over) >= len({fate.id for fate in accepted}):
                return True
            if time.monotonic() > until_s:
                return False
            time.sleep(0.3)

    def _states(self, fates: Sequence[Fate]) -> list[str]:
        store, found = self._client.store, []
        for at in range(0, len(fates), AT_ONCE):
            with store.client.pipeline(transaction=False) as pipe:
                for fate in fates[at : at + AT_ONCE]:
                    key = store.keys.message(str(fate.id)) if fate.kind == "message" else store.keys.run(str(fate.id))
                    pipe.hget(key, "state")
                found += [state or "gone" for state in pipe.execute()]
        return found

    # --- the verdict ------------------------------------------------------------------------------------------------

    def judge(self, *, timeout_s: float = 60.0) -> Verdict:
        """Wait for the end of everything, at most `timeout_s`, and compare."""
        self.settle(timeout_s)
        book = Book.read(self._oracle)
        fates = list(book.fates.values())
        accepted = [fate for fate in fates if fate.id]
        states = dict(zip([fate.key for fate in accepted], self._states(accepted), strict=True))
        broken = _Broken()
        lost = self._find_lost(book, accepted, states)
        broken.add("I1 lost", lost)
        broken.add("I1 another id for the same key", self._split(book))
        broken.add("I7 left a terminal state", self._unsteady(accepted, states))
        wrong = [f"{fate.key} {states[fate.key]}" for fate in accepted if not self._may_end(fate, states[fate.key])]
        broken.add("P2 ended otherwise than it may", [line for line in wrong if line.split()[0] not in lost])
        self._check_journal(broken)
        self._check_messages(broken, book, accepted, states)
        self._check_runs(broken, book, accepted, states)
        unexpected = _unexpected(book)
        broken.add("unexpected: a handler ran for what was refused or never sent", unexpected)
        if len(accepted) < ENOUGH * len(fates):
            broken.add("outage", [f"{len(accepted)} of {len(fates)} attempted were accepted, less than 80 %"])
        broken.add("I8 audit", self._audit())
        counts = _counts(book, fates, accepted, states) | {"lost": len(lost), "unexpected": len(unexpected)}
        takeover_s = takeovers(book)
        counts["recovered"] = len(takeover_s)
        return Verdict(counts, takeover_s, recoveries(book), latencies(book), broken.lines)

    def _find_lost(self, book: Book, accepted: Sequence[Fate], states: dict[str, str]) -> list[str]:
        """Not over within the deadline, gone, or over without its handler having ended."""
        ended = {place for place, tries in book.tries_of.items() if any(one.end_s is not None for one in tries)}
        lost = []
        for fate in accepted:
            state = states[fate.key]
            steps = ("",) if fate.kind == "message" else self._steps
            unheard = state in ("acknowledged", "succeeded") and any((fate.key, step) not in ended for step in steps)
            if state not in _TERMINAL[fate.kind] or unheard:
                lost.append(fate.key)
        return lost

    @staticmethod
    def _split(book: Book) -> list[str]:
        ids: dict[str, set[str]] = defaultdict(set)
        for line in book.lines:
            if line["what"] == "accepted":
                ids[line["key"]].add(line["id"])
        handled: dict[str, set[str]] = defaultdict(set)
        for line in book.lines:
            if line["what"] == "start" and (line["message"] or line["run"]):
                handled[line["key"]].add(line["message"] or line["run"])
        return [key for key, found in ids.items() if len(found | handled[key]) > 1]

    def _unsteady(self, accepted: Sequence[Fate], states: dict[str, str]) -> list[str]:
        seen = ((fate.key, self._over.get(str(fate.id), states[fate.key]), states[fate.key]) for fate in accepted)
        return [f"{key} {before} -> {now}" for key, before, now in seen if before != now]

    def _may_end(self, fate: Fate, state: str) -> bool:
        usual = ("acknowledged",) if fate.kind == "message" else ("succeeded",)
        return state in (self._endings(fate.key) or usual)

    def _check_journal(self, broken: _Broken) -> None:
        """I2: one end each. I3: one result for each step. From what the journal still holds."""
        ends: Counter[tuple[str, str]] = Counter()
        results: Counter[tuple[str, str]] = Counter()
        journal, after = Journal(self._client.store.client, self._client.store.keys), "0"
        while entries := journal.read(after):
            after = entries[-1].id
            for entry in entries:
                kind = _ENDS.get(entry.name)
                if kind and kind in entry.data:
                    ends[kind, entry.data[kind]] += 1
                elif entry.name == "step.succeeded":
                    results[entry.data["run"], entry.data["step"]] += 1
        broken.add("I2 ended more than once", [f"{kind} {name}" for (kind, name), n in ends.items() if n > 1])
        broken.add("I3 recorded more than once", [f"{run} {step}" for (run, step), n in results.items() if n > 1])

    def _check_messages(self, broken: _Broken, book: Book, accepted: Sequence[Fate], states: dict[str, str]) -> None:
        """I4: attempts. I9: what failed has a reason."""
        too_many, too_few, mute = [], [], []
        fates = {str(fate.id): fate for fate in accepted if fate.kind == "message" and states[fate.key] != "gone"}
        for record in self._read_messages(list(fates)):
            fate = fates[record.message.message_id]
            failures = [one.error for one in record.attempts if one.error and one.error.type != "WorkerLost"]
            allowed = 1 + record.message.delivery_options.max_retries
            if len(failures) > allowed:
                too_many.append(f"{fate.key}: {len(failures)} failures of {allowed}")
            if len(book.tries_of[fate.key, ""]) > len(record.attempts):
                too_few.append(f"{fate.key}: {len(book.tries_of[fate.key, ''])} runs, {len(record.attempts)} attempts")
            if record.state in (MessageState.FAILED, MessageState.DEAD) and not (record.error or record.reason):
                mute.append(fate.key)
        broken.add("I4 too many attempts", too_many)
        broken.add("I4 handler ran without an attempt", too_few)
        broken.add("I9 ended without a reason", mute)

    def _read_messages(self, ids: Sequence[str]) -> Iterable[MessageRecord]:
        for at in range(0, len(ids), AT_ONCE):
            yield from self._client.office.inbox.read_many(ids[at : at + AT_ONCE])

    def _check_runs(self, broken: _Broken, book: Book, accepted: Sequence[Fate], states: dict[str, str]) -> None:
        """I6: the outputs are those of the recorded results, each step began after what it needs. I9: a reason."""
        false, early, mute = [], [], []
        for fate in accepted:
            if fate.kind != "run" or states[fate.key] == "gone":
                continue
            run: RunRecord = self._client.store.read_run(str(fate.id))
            if run.state is RunState.FAILED and run.error is None:
                mute.append(fate.key)
            if run.state is not RunState.SUCCEEDED:
                continue
            if self._outputs and run.outputs != self._outputs(fate.key):
                false.append(f"{fate.key}: {run.outputs}")
            early += _too_early([book.tries_of[fate.key, step] for step in self._steps], fate.key)
        broken.add("I6 outputs are not those of the steps", false)
        broken.add("I6 began before what it needs", early)
        broken.add("I9 ended without a reason", mute)

    def _audit(self) -> list[str]:
        """What `orchestrator audit` finds (I8), where this version has it."""
        if find_spec("orchestrator.store.audit") is None:
            return []
        store, settings = self._client.store, self._client.settings
        auditor = import_module("orchestrator.store.audit.auditor").Auditor(
            store.client, store.keys, retention_ms=settings.retention_s * 1000,
            message_retention_ms=settings.message_retention_s * 1000,
        )  # fmt: skip
        return [f"{one.about} {one.id} {one.problem}" for one in auditor.audit().findings]


class _Broken:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, what: str, found: Iterable[str]) -> None:
        every = list(found)
        if every:
            more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
            self.lines.append(f"{what}: {len(every)}: {', '.join(every[:SHOWN])}{more}")


_TERMINAL = {
    "message": {str(state) for state in MessageState if state.terminal},
    "run": {str(state) for state in RunState if state.terminal},
}


def _too_early(steps: Sequence[Sequence[Try]], key: str) -> list[str]:
    found = []
    for before, after in pairwise(steps):
        ends = [one.end_s for one in before if one.end_s is not None]
        if after and (not ends or after[0].start_s < min(ends)):
            found.append(f"{key} {after[0].step}")
    return found


def _unexpected(book: Book) -> list[str]:
    """Handled, although it was never sent, or although every try of it was refused (I9)."""
    found = {}
    for one in book.tries:
        fate = book.fates.get(one.key)
        refused = fate is not None and fate.refused and not fate.id and not fate.indeterminate
        if fate is None or refused:
            found[one.key] = "refused" if refused else "never sent"
    return [f"{key} {why}" for key, why in found.items()]


def _counts(book: Book, fates: Sequence[Fate], accepted: Sequence[Fate], states: dict[str, str]) -> dict[str, int]:
    ends = Counter(states.values())
    effects = [sum(one.effect_s is not None for one in tries) for tries in book.tries_of.values()]
    return {
        "attempted": len(fates),
        "accepted": len(accepted),
        "indeterminate": sum(bool(fate.indeterminate) for fate in fates),
        "refused": sum(bool(fate.refused) for fate in fates if not fate.id),
        "ok": ends["acknowledged"] + ends["succeeded"],
        "failed": ends["failed"],
        "dead": ends["dead"],
        "expired": ends["expired"],
        "cancelled": ends["cancelled"],
        "duplicated_effects": sum(max(0, count - 1) for count in effects),
        "extra_attempts": sum(max(0, len(tries) - 1) for tries in book.tries_of.values()),
        "faults": sum(line["what"] == "fault" for line in book.faults),
        "heard": len(heard := _hearing_s(book, accepted)),
        "heard_in_60_s": sum(time_s <= 60 for time_s in heard),
    }


def _hearing_s(book: Book, accepted: Sequence[Fate]) -> list[float]:
    """Of each message: seconds from its acceptance to the first end of its handler; for ever if there is none."""
    found = []
    for fate in accepted:
        if fate.kind == "message":
            ends = [one.end_s for one in book.tries_of[fate.key, ""] if one.end_s is not None]
            found.append(min(ends, default=math.inf) - (fate.accepted_s or 0.0))
    return found


def takeovers(book: Book) -> list[float]:
    """Seconds from the death (or the freezing) of a process to the next start of each item that it was at."""
    hits = [line for line in book.faults if line["what"] == "fault" and line.get("pids")]
    hit_at: dict[int, list[float]] = defaultdict(list)
    for line in hits:
        for pid in line["pids"]:
            hit_at[pid].append(line["at_s"])
    found = []
    for tries in book.tries_of.values():
        for cut, following in pairwise(tries):
            # The first blow after its start. A process id may come back: then the blow came before.
            blows = [at for at in hit_at[cut.pid] if cut.start_s <= at and (cut.end_s is None or at < cut.end_s)]
            if blows and following.start_s > blows[0]:
                found.append(following.start_s - blows[0])
    return found


def recoveries(book: Book) -> list[float]:
    """Seconds from the end of each fault that the test itself ended to the first handler that starts after it."""
    starts = [one.start_s for one in book.tries]
    healed = [line["at_s"] for line in book.faults if line["what"] == "healed" and line["kind"] != "freeze"]
    return [min(after) - at for at in healed if (after := [start for start in starts if start >= at])]


def latencies(book: Book) -> list[float]:
    """Seconds from the first try to send a message to the first start of its handler."""
    tries = ((book.fates.get(key), found[0]) for (key, step), found in book.tries_of.items() if step == "" and found)
    return [first.start_s - fate.tried_s for fate, first in tries if fate and fate.kind == "message"]
