"""A process of the pool goes on with one step, or message, after another for a moment, past the worker's consumer.

What comes through the consumer costs a pop, two pipes and an acknowledgement; a step that is taken in the script that
ends the one before costs nothing more. Each keeps its own claim, attempt and lease. After the moment the process gives
itself back, so that the consumer deals out messages, time limits and signals again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_process_init

from orchestrator.agents.decisions import carry_on
from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.records import Advance, Claim, Taker
from orchestrator.runtime.doorbells import shadow_of
from orchestrator.runtime.engine import Engine
from orchestrator.store.routing import agents_of, ring_id_of, task_id_of

T = TypeVar("T")
log = logging.getLogger(__name__)

BURST_S = 0.1  # what begins later than this goes through the consumer

_in_pool = False  # whether this is a process of a prefork pool, whose main process looks after it


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _begin_pool_process(**_: Any) -> None:
    global _in_pool
    _in_pool = True


class Burst:
    """What one Celery task leads to in its process.

    Args:
        request: the task's.
    """

    def __init__(self, engine: Engine, request: Any) -> None:
        self._engine = engine
        self._executor = engine.executor
        self._worker: str = request.hostname
        self._ends = time.monotonic() + BURST_S
        self._taker = self._taker_of(request)

    def run(self, first: Claim) -> float:
        """Run the attempt, then what can be taken after it. Returns the seconds that the first one took."""
        began_s = time.monotonic()
        claim = self._attempt(first)
        first_s = time.monotonic() - began_s
        while claim := claim or self._next(self._executor.take):
            with self._told(task_id_of(claim.run_id, claim.step_id), **_about(claim)):
                claim = self._attempt(claim)
        return first_s

    def hear_more(self) -> None:
        """Handle messages, after the one that the Celery task was for."""
        take = self._executor.take_message
        while delivery := self._take(take) or self._next(take):
            about = {"name": shadow_of(delivery.box), "args": repr((delivery.box,))}
            with self._told(ring_id_of(delivery.message.message_id), **about):
                self._engine.carry(self._executor.hear(delivery))

    def _attempt(self, claim: Claim) -> Claim | None:
        """Run an attempt. Returns the one that this process goes on with, if its end has led to one."""
        taker = self._taker if self._left_s > 0 else None
        advance = self._executor.attempt(claim, worker=self._worker, taker=taker)
        if advance is None:
            return None
        self._carry_on(advance)
        return advance.claim

    def _next(self, take: Callable[[Taker], T | None]) -> T | None:
        """What comes before the moment is over. What needs the consumer ends it: something else, a time limit."""
        return self._take(lambda taker: take(taker) if self._engine.store.await_work(taker, self._left_s) else None)

    def _take(self, take: Callable[[Taker], T | None]) -> T | None:
        if self._taker is None or self._left_s <= 0:
            return None
        try:
            return take(self._taker)
        except (redis.RedisError, SoftTimeLimitExceeded) as error:
            # The server is away, or a signal came too late for the attempt that it was meant for.
            log.debug("takes nothing more: %s", error)
            return None

    @property
    def _left_s(self) -> float:
        return self._ends - time.monotonic()

    @contextmanager
    def _told(self, task_id: str, **about: str | None) -> Iterator[None]:
        """Tell Flower of an attempt whose message the main process has not seen."""
        events, began_s = self._engine.task_events(self._worker), time.monotonic()
        events.started(task_id, **about)
        yield
        events.ended(task_id, time.monotonic() - began_s)

    def _carry_on(self, advance: Advance) -> None:
        if advance.decide or advance.elsewhere:
            try:
                carry_on(self._engine.store, advance, self._engine.settings)
            except redis.RedisError as error:
                log.warning("a step of %s is recorded, what follows is left to the keeper: %s", advance.run_id, error)
                return
        reach(CrashPoint.NEXT_QUEUED)

    def _taker_of(self, request: Any) -> Taker | None:
        """None: a time limit of Celery's would run on for the steps after this one, or nobody watches the process."""
        app, settings = self._engine.app, self._engine.settings
        limits = *(request.timelimit or ()), app.conf.task_time_limit, app.conf.task_soft_time_limit
        if any(limits) or settings.message_timeout_s or not _in_pool:
            return None
        return self._executor.taker(self._worker, agents_of(app.amqp.queues.consume_from, settings.prefix))


def _about(claim: Claim) -> dict[str, str | None]:
    root, before = (step and task_id_of(claim.run_id, step) for step in (claim.root, claim.parent))
    name = f"{claim.step.agent}.{claim.step.task}"
    return {"name": name, "args": repr((claim.run_id, claim.step_id)), "root_id": root, "parent_id": before}
