"""The reverse of `runs`: each entry of a timer, a queue or a place stands for a run or a step that says the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from orchestrator.store.audit.looking import RUN_LIVE, Finding, Need, Place, wrong
from orchestrator.store.audit.runs import DECIDE, STEP_LIVE
from orchestrator.store.keys import Keys

_HOLD_MS = 10_000  # the keeper drops what is due and stands for nothing; what is due later than this, nobody drops


class Timers:
    """Check: a timer of a run, a step or a schedule. `now_ms`: the server's time."""

    def __init__(self, keys: Keys, now_ms: int) -> None:
        self._keys = keys
        self._now_ms = now_ms

    def ask(self, pipe: Any, item: str) -> None:
        kind, run_id, step_id, _ = item.split(" ")
        if kind == DECIDE:  # also for what is over by now, or never came to be: the keeper sees, and drops it
            return
        pipe.zscore(self._keys.timers, item)
        if kind == "schedule":
            pipe.hexists(self._keys.schedules, run_id)
        else:
            pipe.hmget(self._keys.run(run_id), "state", "phase")
            pipe.hget(self._keys.steps(run_id), step_id)

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        kind, run_id, _, attempt = item.split(" ")
        if kind == DECIDE or replies[0] is None:
            return
        if kind == "schedule":
            if not replies[1]:
                yield wrong("timer", item, f"the schedule {run_id} is gone")
            return
        due, (state, phase), text = replies
        rec = json.loads(text) if text else {}
        if state is None:
            yield wrong("timer", item, f"the record of run {run_id} is gone")
        elif kind == "run":
            if state not in RUN_LIVE or state == "paused" or (phase or "main") != "main":
                yield wrong("timer", item, f"is left over: the run is {state}")
        elif kind == "retry":
            if rec.get("state") not in STEP_LIVE and due > self._now_ms + _HOLD_MS:
                yield wrong("timer", item, f"is left over: the step is {rec.get('state', 'gone')}")
        elif "worker" not in rec or str(rec["attempt"]) != attempt:
            yield wrong("timer", item, "is left over: the attempt does not run")


class ReadyEntries:
    """Check: a step that was dispatched and not claimed."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def ask(self, pipe: Any, item: str) -> None:
        _, _, _, run_id, step_id = item.split(" ")
        pipe.zscore(self._keys.ready, item)
        pipe.hget(self._keys.steps(run_id), step_id)

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        there, text = replies
        rec = json.loads(text) if text else {}
        agent, priority, seq, _, _ = item.split(" ")
        if there is not None and (rec.get("queue"), rec.get("seq")) != (f"{agent} {priority}", seq):
            yield wrong("queue entry", item, "the step's record is gone" if not rec else "the step is not queued so")


class Slots:
    """Check: a run that has, or waits for, a place under a concurrency key. Items: the zset and the run."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def ask(self, pipe: Any, item: str) -> None:
        key, _, run_id = item.rpartition(" ")
        pipe.zscore(key, run_id)
        pipe.hget(self._keys.run(run_id), "state")

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        there, state = replies
        if there is not None and state not in RUN_LIVE:
            yield wrong("place", item, f"the run is {state or 'gone'}")


class Limits:
    """Check: an attempt that has, or waits for, a place under a limit. Items: the key and the member."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def ask(self, pipe: Any, item: str) -> None:
        key, run_id, step_id, attempt = item.rsplit(" ", 3)
        member = f"{run_id} {step_id} {attempt}"
        if key.endswith(":wait"):
            pipe.zscore(key, member)
        else:
            pipe.sismember(key, member)
        pipe.hget(self._keys.steps(run_id), step_id)

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        there, text = replies
        rec = json.loads(text) if text else {}
        member = item.split(" ", item.count(" ") - 2)[-1]
        if there not in (None, 0, False) and member not in dict(rec.get("limited") or {}).values():
            yield wrong("place", item, "the step has given it back, or is gone")


class Schedules:
    """Check: a schedule."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def ask(self, pipe: Any, item: str) -> None:
        pipe.hget(self._keys.schedules, item)

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        if replies[0] is None:
            return
        data = json.loads(replies[0])
        if data["next_ms"] is not None:
            timer = Place("zset", self._keys.timers, f"schedule {item} - 0")
            yield Need(Finding("schedule", item, "is due, and no timer is set"), (timer,))
        for pin in data["pins"]:
            yield Need(Finding("schedule", item, "its definition is gone, or expires"), (Place("kept", pin),))
