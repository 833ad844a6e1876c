"""`RunTraces`: what the spans of a run have to know of each other, kept with the run because no process lives as long.

It is asked only where traces are on, and never stands in a run's way: without an answer a span has no parent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import redis

from orchestrator.errors import RunNotFound
from orchestrator.events import STEP_LOST, STEP_STARTED
from orchestrator.records import Claim, StepRecord
from orchestrator.store.reader import RunReader
from orchestrator.store.scripts import NoRun, Scripts

EVENTS_READ = 1000  # of a run, the newest, to find what was lost


@dataclass(frozen=True, slots=True)
class StepTrace:
    """What is known when an attempt begins. `run` and `before` are contexts as text.

    `before` is that of the step's span, as the attempt before has left it if it did not succeed; `hands` (AGENT.TASK)
    ran that one. `started_at` is when the first attempt began. `told` is the newest attempt, of this round of a loop,
    that has told of itself; those between it and this one were lost.
    """

    run: str = ""
    priority: str | None = None
    waited_ms: int = 0
    before: str = ""
    hands: str = ""
    started_at: int | None = None
    told: int | None = None


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """An attempt whose worker was not heard of any more. Times are ms since the epoch."""

    number: int
    started_at: int
    ended_at: int


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a traced run ended. `steps` are those that are over and ran on no agent. Times are ms since the epoch."""

    trace: str
    workflow: str
    state: str
    created_at: int
    finished_at: int
    error_type: str | None
    steps: tuple[StepRecord, ...]


class RunTraces:
    """The traces of the runs of one server."""

    def __init__(self, store: RunReader) -> None:
        self._store = store
        self._keys = store.keys
        self._scripts = Scripts(store.client)

    def load_run(self, run_id: str) -> str:
        """The context of the run's span; '' if there is none. One HGET."""
        try:
            return self._store.client.hget(self._keys.run(run_id), "trace") or ""
        except redis.RedisError:
            return ""

    def load(self, claim: Claim) -> StepTrace:
        """What the spans of an attempt have to know. One round trip."""
        run_id, step_id = claim.run_id, claim.step_id
        try:
            with self._store.client.pipeline(transaction=False) as pipe:
                pipe.hmget(self._keys.run(run_id), "trace", f"trace:{step_id}", "priority")
                pipe.hget(self._keys.steps(run_id), step_id)
                pipe.time()
                (trace, noted, priority), record, (seconds, micros) = pipe.execute()
        except redis.RedisError:
            return StepTrace()
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        stored = json.loads(record or "{}")
        waited_ms = max(0, now_ms - stored.get("ready_at", now_ms))
        attempt, hands, before = (noted or "0  ").split(" ", 2)
        if int(attempt) <= claim.before:  # of an earlier round of a loop
            hands = before = ""
        told = max(0, int(attempt) - claim.before)
        return StepTrace(trace or "", priority, waited_ms, before, hands, stored.get("started_at"), told)

    def lost(self, claim: Claim, known: StepTrace) -> list[LostAttempt]:
        """The attempts right before this one that could not tell of themselves, as the newest events tell of them.

        Nothing is asked where there is none; else one round trip.
        """
        if known.told is None or claim.number - 1 <= known.told:
            return []
        try:
            history = self._store.read_newest_events(claim.run_id, EVENTS_READ)
        except redis.RedisError:
            return []
        begun: dict[int, int] = {}
        found: dict[int, LostAttempt] = {}
        for event in history:
            number = event.attempt or 0
            if event.step != claim.shown_id or not known.told < number < claim.number:
                continue
            if event.name == STEP_STARTED:
                begun[number] = event.at
            elif event.name == STEP_LOST and number in begun:
                found[number] = LostAttempt(number, begun[number], event.at)
        return list(found.values())

    def adopt(self, run_id: str, trace: str) -> str:
        """Keep the context of a run's span, unless there is one; returns that which counts. Script: note_trace.lua."""
        return self._note(run_id, "", trace)

    def note(self, claim: Claim, trace: str) -> None:
        """Keep the context of a step's span for the attempt after this one. Script: note_trace.lua, one round trip."""
        self._note(claim.run_id, claim.step_id, f"{claim.attempt} {hands_of(claim)} {trace}")

    def _note(self, run_id: str, step_id: str, text: str) -> str:
        try:
            return str(self._scripts.call("note_trace", [self._keys.run(run_id), ""], [run_id, step_id, text]))
        except (NoRun, redis.RedisError):
            return text

    def end(self, run_id: str) -> RunEnd | None:
        """How a traced run ended, for the first who asks; None: it goes on, or somebody has asked.

        Script: end_trace.lua, one round trip; two more, O(steps), where there may be steps without an agent.
        """
        try:
            told = self._scripts.call("end_trace", [self._keys.run(run_id), ""], [run_id])
            if told is None:
                return None
            trace, workflow, state, created, finished, error = told
            kind = json.loads(error)["type"] if error else None
            return RunEnd(trace, workflow, state, int(created), int(finished), kind, self._decided(run_id))
        except (NoRun, RunNotFound, redis.RedisError):
            return None

    def _decided(self, run_id: str) -> tuple[StepRecord, ...]:
        plan = self._store.read_plan(run_id)
        if all(step.kind == "task" or step.internal for step in plan.steps):
            return ()
        records = self._store.read_steps_in_order(run_id)
        return tuple(one for one in records if one.ready_at and one.finished_at and not (one.agent and one.attempts))


def hands_of(claim: Claim) -> str:
    """Who runs the attempt: `AGENT.TASK`."""
    return f"{claim.step.agent}.{claim.step.task}"
