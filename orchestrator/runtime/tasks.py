"""The two Celery tasks of the engine. Every step of every agent is a `run_step`, every message a `ring`; the readable
name is its shadow.

Generic tasks, so that a worker of another version never discards a message because it does not know the name.
"""

from __future__ import annotations

from celery import Task, shared_task

from orchestrator.agents.decisions import carry_on
from orchestrator.records import Advance, Ready
from orchestrator.runtime.canvas import carried_step, dispatch, joined_step
from orchestrator.runtime.chords import JOIN_OPEN
from orchestrator.runtime.forwarding import next_message
from orchestrator.runtime.routing import RING, RUN_STEP, agent_of


@shared_task(bind=True, name=RUN_STEP, max_retries=0)  # type: ignore[untyped-decorator]
def run_step(self: Task, run_id: str, step_id: str) -> str | None:
    """Run one attempt of one step, then see to what it made ready.

    The chain or the chord that the message belongs to brings the next step if that is ready; otherwise the chain
    ends here. Everything else that became ready is published from here. On a server that is both store and broker
    the chain's next message goes out in the script that finishes the step; elsewhere Celery sends it afterwards.
    """
    engine = self.app.engine
    forward = next_message(self.request) if engine.one_server else None
    advance = engine.executor.run_step(run_id, step_id, worker=self.request.hostname, forward=forward)
    own, *others = carry_on(engine.store, advance, engine.settings) if advance else (Advance(run_id),)
    by_id: dict[str | None, Ready] = {step.step_id: step for step in own.ready}
    if by_id.pop(carried_step(self.request), None) is None:
        self.request.chain = None
    joined = by_id.pop(joined_step(self.request), None)
    if by_id:
        dispatch(self.app, run_id, by_id.values(), priority=own.priority)
    for other in others:
        dispatch(self.app, other.run_id, other.ready, priority=other.priority)
    return JOIN_OPEN if joined else None


@shared_task(bind=True, name=RING, max_retries=0)  # type: ignore[untyped-decorator]
def ring(self: Task, box: str, ring_id: str) -> None:
    """Claim the most urgent message of an inbox and have the agent handle it.

    Which message that is, is decided now: one that came later and is more urgent goes first, and the ring of that one
    then serves this one.
    """
    engine = self.app.engine
    posted = engine.executor.run_message(agent_of(box), box, worker=self.request.hostname, ring=ring_id)
    engine.office.carry(posted)
