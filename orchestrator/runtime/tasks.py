"""The two Celery tasks of the engine. Every step of every agent is a `run_step`, every message a `ring`; the readable
name is its shadow.

Generic tasks, so that a worker of another version never discards a message because it does not know the name.
"""

from __future__ import annotations

import json
import logging

import redis
from celery import Task, shared_task

from orchestrator.agents.decisions import carry_on
from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.errors import RunNotFound
from orchestrator.records import Advance, Ready
from orchestrator.runtime.broker import BROKER_AWAY
from orchestrator.runtime.burst import Burst
from orchestrator.runtime.canvas import carried_step, dispatch, joined_step
from orchestrator.runtime.chords import JOIN_OPEN
from orchestrator.store.routing import RING, RING_ID, RUN_STEP, agent_of

log = logging.getLogger(__name__)
WATCHED = "orchestrator.runtime.lost:WatchedRequest"
_SERVER_AWAY = (redis.RedisError, *BROKER_AWAY)


@shared_task(bind=True, name=RUN_STEP, max_retries=0, Request=WATCHED, typing=False)  # type: ignore[untyped-decorator]
def run_step(self: Task, *ids: str) -> str | float | None:
    """Run one attempt of one step, then see to what it made ready. `lost` and `chords` read what it returns.

    On a server that is both store and broker, scripts send what becomes ready, and the process goes on with the next
    step for a moment. Elsewhere the chain or the chord that the message belongs to brings the next step if that is
    ready, and everything else is published from here.
    """
    if not _are_texts(ids, 2):
        _put_aside(self, "does not name a step")
        return None
    run_id, step_id = ids
    engine = self.app.engine
    executor, worker = engine.executor, self.request.hostname
    try:
        claim = executor.claim(run_id, step_id, worker=worker)
    except RunNotFound:
        _put_aside(self, f"is for a run that does not exist (any more): {run_id}")
        return None
    if engine.one_server:
        self.request.chain = None  # the script that makes its next step ready sends that
        return Burst(engine, self.request).run(claim) if claim else None
    advance = executor.attempt(claim, worker=worker) if claim else None
    try:
        own, *others = carry_on(engine.store, advance, engine.settings) if advance else (Advance(run_id),)
        by_id: dict[str | None, Ready] = {step.step_id: step for step in own.ready}
        if by_id.pop(carried_step(self.request), None) is None:
            self.request.chain = None
        joined = by_id.pop(joined_step(self.request), None)
        if by_id:
            dispatch(self.app, run_id, by_id.values(), priority=own.priority)
        for other in others:
            dispatch(self.app, other.run_id, other.ready, priority=other.priority)
    except _SERVER_AWAY as error:
        self.request.chain = None
        log.warning("%s %s is recorded, what follows is left to the keeper: %s", run_id, step_id, error)
        return None
    reach(CrashPoint.NEXT_QUEUED)
    return JOIN_OPEN if joined else None


@shared_task(bind=True, name=RING, max_retries=0, Request=WATCHED, typing=False)  # type: ignore[untyped-decorator]
def ring(self: Task, *ids: str) -> None:
    """Claim the most urgent message of an inbox and have the agent handle it.

    Which message that is, is decided now: one that came later and is more urgent goes first, and the ring of that one
    then serves this one.
    """
    engine = self.app.engine
    if not _are_texts(ids, 2) or agent_of(ids[0]) not in engine.registry.names or not RING_ID.fullmatch(ids[1]):
        _put_aside(self, "does not name a message for an agent that is served here")
        return
    box, ring_id = ids
    posted = engine.executor.run_message(box, worker=self.request.hostname, ring=ring_id)
    engine.carry(posted)
    if engine.one_server:
        Burst(engine, self.request).hear_more()


def _are_texts(ids: tuple[object, ...], count: int) -> bool:
    return len(ids) == count and all(isinstance(one, str) for one in ids)


def _put_aside(task: Task, reason: str) -> None:
    """Keep a message that no version of the engine has sent."""
    request = task.request
    queue = (request.delivery_info or {}).get("routing_key", "")
    told = {"task": task.name, "id": request.id, "args": request.args, "kwargs": request.kwargs}
    task.app.engine.quarantine.put(json.dumps(told, default=repr).encode(), queue, reason)
