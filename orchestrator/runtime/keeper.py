"""The keeper: due timers, lapsed leases, lost messages. It runs in every worker; one of them leads at a time.

It repairs and never drives: whatever it does, the normal path would have done a moment earlier.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import cached_property

from celery import Celery

from orchestrator.agents.failures import next_delay_ms, step_error, unheard, worker_lost
from orchestrator.agents.mail import wake_message
from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.errors import OrchestratorError, RunNotFound, StepTimeout
from orchestrator.ids import visible_id
from orchestrator.records import Advance, StepError
from orchestrator.runtime.broker import empty_queues
from orchestrator.runtime.engine import Engine
from orchestrator.runtime.schedule import fire
from orchestrator.store.founding import Founding
from orchestrator.store.sums import Sums
from orchestrator.store.timers import Due, Place, Timer, do_each

log = logging.getLogger(__name__)

LEAD_MS = 1500  # a dead keeper's place falls vacant after this; while nobody leads, lapsed leases wait (fault test F01)
ALONE_MS = 600_000  # the same while nobody stands by: who comes then shortens it to the above
RENEW_S = ALONE_MS / 2000
MARGIN_S = 0.02  # who stands by looks so long after the place may have fallen vacant
TICK_S = 1.0  # sleep at most this long while there is something to look after, or somebody who stands by
CALM_S = 5.0  # and otherwise this long: the store's scripts wake the keeper for what is due sooner
BREATH_S = 0.01  # between two looks that find nothing, however often it is woken
HOLD_MS = 2000  # a timer that was taken and not dropped comes back after this
GRACE_MS = 5000  # a message is not called lost before this; docs/decisions/0003
RING_GRACE_MS = 2000  # the same for a ring that the script which notes it has put on its queue
LOOK_FOR_LOST_S = 2.0
TIDY_S = WATCH_S = 60.0
COUNT_S = 1.0  # the journal has room for some tens of seconds of the most that a server can do
UNASKED_S = 5.0
_COUNT_BATCHES = 20
_BATCH = 500


class Keeper:
    """One worker's candidate for the keeper."""

    def __init__(self, app: Celery, name: str) -> None:
        self._app = app
        self._engine: Engine = app.engine
        self._name = name
        self._ended = threading.Event()
        self._holder: str | None = None  # who kept at the last look
        self._parked: list[str] = []
        self._watched_at = 0.0
        self._looked_at = 0.0
        self._tidied_at = 0.0
        self._count_at = 0.0
        self._led_at = 0.0
        self._quiet = False  # whether there was nothing at all to do or to wait for at the last look
        self._actions: dict[str, Callable[[Timer], Advance | None]] = {
            "lease": self._lapse,
            "retry": self._wake,
            "timeout": self._time_out,
            "decide": self._decide,
            "run": self._end_late_run,
        }

    @cached_property
    def _sums(self) -> Sums:
        return Sums(self._engine.client, self._engine.keys)

    @cached_property
    def _founding(self) -> Founding:
        return Founding(self._engine.client, self._engine.keys)

    def tick(self) -> None:
        """Lead if nobody else does, do what is due, and sleep until something may be due again."""
        timers = self._engine.timers
        quiet = self._quiet and timers.quiet()
        if quiet and time.monotonic() - self._led_at < RENEW_S:
            self._sleep(CALM_S)
            return
        place = timers.lead(self._name, alone_ms=ALONE_MS, shared_ms=LEAD_MS)
        self._led_at = time.monotonic()
        self._watch(place)
        if not place.mine:
            self._quiet = False
            self._ended.wait(place.left_ms / 1000 + MARGIN_S)
        elif quiet and place.alone:
            self._sleep(CALM_S)
        else:
            self._keep(place)

    def _keep(self, place: Place) -> None:
        timers = self._engine.timers
        due = timers.take_due(limit=_BATCH, hold_ms=HOLD_MS)
        self._do_all(due, self._do)
        mail = timers.take_due_messages(limit=_BATCH, hold_ms=HOLD_MS)
        self._do_all(mail, self._wake_message)
        if time.monotonic() - self._looked_at >= LOOK_FOR_LOST_S:
            self._looked_at = time.monotonic()
            self._look_after(due.unclaimed, mail.unclaimed)
        if time.monotonic() - self._tidied_at >= TIDY_S:
            self._tidied_at = time.monotonic()
            self._engine.directory.forget_absent()
        if time.monotonic() >= self._count_at:
            self._count()
        self._rest(place, due, mail)

    def _watch(self, place: Place) -> None:
        """Whoever deletes or replaces the data takes the place away too: look closely when it has changed hands."""
        if place.holder == self._holder and time.monotonic() - self._watched_at < WATCH_S:
            return
        self._watched_at = time.monotonic()
        if told := self._founding.watch():
            log.critical("%s", told)
        self._holder = self._name if place.mine else place.holder

    def _count(self) -> None:
        """Count the journal for metrics, where somebody asks for them."""
        self._count_at = time.monotonic() + UNASKED_S  # also where it fails
        if self._sums.count(asked_ms=0, batches=_COUNT_BATCHES) >= 0:
            self._count_at = time.monotonic() + COUNT_S

    def _rest(self, place: Place, due: Due, mail: Due) -> None:
        """Sleep until something may be due."""
        known = [found.next_ms / 1000 for found in (due, mail) if found.next_ms is not None]
        done = max(len(due.timers), len(mail.timers))
        calm = place.alone and not (done or due.unclaimed or mail.unclaimed or self._parked)
        self._quiet = calm and not known
        if done < _BATCH:
            woken = self._sleep(min([CALM_S if calm else TICK_S, *known]))
            if woken and not done:
                self._ended.wait(BREATH_S)

    def _sleep(self, seconds: float) -> bool:
        return self._engine.timers.wait(self._engine.blocking(), max(seconds, 0.001))

    def interrupt(self) -> None:
        """Have `tick` return soon."""
        self._ended.set()
        self._engine.timers.wake()

    def stop(self) -> None:
        """Leave the place to another worker at once."""
        self._engine.timers.resign(self._name)

    def _do_all(self, due: Due, action: Callable[[Timer], None]) -> None:
        if due.timers:
            reach(CrashPoint.SWEPT)
        do_each(due.timers, action)

    def _do(self, timer: Timer) -> None:
        if timer.kind == "schedule":
            for found in fire(self._engine, timer.run_id):
                self._engine.carry_on(found)
            return
        if timer.kind not in self._actions:  # of a newer version, whose keeper will do it
            return
        try:
            advance = self._actions[timer.kind](timer)
        except RunNotFound:
            self._engine.timers.drop(timer)
        else:
            if advance is not None:
                self._engine.carry_on(advance)

    def _lapse(self, timer: Timer) -> Advance | None:
        if self._server_is_fresh():
            return None  # nobody could send heartbeats while the server was away
        error = worker_lost(self._engine.settings, unheard(self._engine.settings))
        return self._engine.store.lapse_lease(
            timer.run_id,
            timer.step_id,
            timer.attempt,
            max_losses=self._engine.settings.max_losses,
            error=step_error(error, visible_id(timer.step_id), timer.attempt),
        )

    def _wake(self, timer: Timer) -> Advance | None:
        return self._engine.store.wake_step(timer.run_id, timer.step_id, timer.attempt)

    def _time_out(self, timer: Timer) -> Advance | None:
        store = self._engine.store
        step, record = store.load_step(timer.run_id, timer.step_id)
        error = StepTimeout(f"the attempt ran longer than {(step.timeout_ms or 0) / 1000:g} s")
        delay_ms = next_delay_ms(step.retry, record.get("failures", 0) + 1, error)
        advance = store.fail_step(
            timer.run_id,
            timer.step_id,
            timer.attempt,
            step_error(error, visible_id(timer.step_id), timer.attempt),
            retry_delay_ms=delay_ms,
        )
        if advance is None:
            self._engine.timers.drop(timer)
        return advance

    def _decide(self, timer: Timer) -> Advance | None:
        return Advance(timer.run_id, decide=(timer.step_id,), priority=self._engine.store.priority(timer.run_id))

    def _end_late_run(self, timer: Timer) -> Advance | None:
        error = StepError("RunTimeout", "the run took longer than its timeout")
        advance = self._engine.store.cancel_run(timer.run_id, error=error)
        self._engine.timers.drop(timer)
        return advance

    def _wake_message(self, timer: Timer) -> None:
        if timer.kind == "lease" and self._server_is_fresh():
            return
        wake_message(self._engine.office, timer)

    def _look_after(self, steps: int, rings: int) -> None:
        """Send again what seems lost, and route what was parked."""
        self._parked = self._engine.inbox.parked()
        self._engine.publish(self._engine.office.route(self._parked))
        if not steps and not rings:
            return
        timers = self._engine.timers
        pairs = timers.queues()
        empty = empty_queues(self._app, pairs)
        queues = [(agent, priority, (agent, priority) in empty) for agent, priority in pairs]
        if steps:
            self._resend_lost(queues)
        grace_ms = RING_GRACE_MS if self._engine.one_server else GRACE_MS
        for lost in timers.find_lost_rings(queues, grace_ms=grace_ms) if rings else ():
            log.warning("ringing again for %s: the ring seems lost", lost.box)
            ring = self._engine.inbox.ring_again(lost.box, lost.priority, lost.message_id, lost.member)
            self._engine.publish([ring] if ring else [])

    def _resend_lost(self, queues: list[tuple[str, str, bool]]) -> None:
        timers = self._engine.timers
        for suspect in timers.find_lost(queues, grace_ms=GRACE_MS):
            try:
                advance = self._engine.store.redispatch_step(suspect.run_id, suspect.step_id, suspect.member)
            except RunNotFound:
                self._engine.timers.forget(suspect)
                continue
            if advance is not None:
                log.warning("sending %s %s again: its message seems lost", suspect.run_id, suspect.step_id)
                self._engine.carry_on(advance)

    def _server_is_fresh(self) -> bool:
        info = self._engine.client.info("server")
        return float(info["uptime_in_seconds"]) < self._engine.settings.lease_s + 1


def explain(error: Exception) -> str:
    """One line for the log."""
    return error.message if isinstance(error, OrchestratorError) else f"{type(error).__name__}: {error}"
