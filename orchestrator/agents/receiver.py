"""`Receiver`: takes an agent's messages in a process that is no Celery worker: a terminal, a script, an async program.

It claims under a lease as a worker does, and keeps itself alive by a thread of its own, which a busy handler cannot
starve. Where no worker runs there is no keeper either, so it also does what is due to messages.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from orchestrator.agents.mail import Handler, handle, wake_message
from orchestrator.agents.post import PostOffice
from orchestrator.agents.secrets import Secrets, kept_secrets
from orchestrator.errors import OrchestratorError
from orchestrator.ids import new_id
from orchestrator.records import Delivery
from orchestrator.states import HandoffState, MessageState
from orchestrator.store.timers import Timers, do_each

log = logging.getLogger(__name__)
KNOCK_S = 0.5  # longest wait for a knock before it looks by itself
_HOLD_MS = 2000
_PAUSE_S = 1.0  # after an error, the server being away most of all


class Receiver:
    """One receiver of one agent.

    Args:
        boxes: whose messages it takes, `store.directory.boxes_of`.
        name: who holds what it claims; default: one that nobody else has.
        lease_s: how long a claim holds without a sign of life.
        announce: whether the journal tells that the agent started and stopped.
    Raises:
        NotYourMessage: the key of this process is of another agent.
    """

    def __init__(
        self,
        office: PostOffice,
        agent: str,
        boxes: tuple[str, ...],
        *,
        name: str | None = None,
        lease_s: float | None = None,
        announce: bool = False,
    ) -> None:
        office.inbox.signatures.allow(agent)
        self.office = office
        self.agent = agent
        self.name = name or f"{agent}.{os.getpid()}.{new_id()[-6:]}@{socket.gethostname()}"
        self._boxes = boxes
        self._lease_s = lease_s or office.settings.lease_s
        self._announce = announce
        self._timers = Timers(office.inbox.client, office.inbox.keys)
        self._work = HandoffState.ACCEPTED  # what a claimed handoff is: who works it begins later, or at once
        self._held: set[str] = set()
        self._kept = kept_secrets()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    # --- one by one ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Be present from now on, and keep what is claimed."""
        self.office.directory.attend(self.name, self.agent)
        if self._announce:
            self._tell("agent.started")
        interval_s = min(self._lease_s, self.office.settings.lease_s) / 3
        self._start("presence", lambda: self._beat(interval_s))

    def next(self, timeout_s: float | None = None) -> Delivery | None:
        """The most urgent message, claimed; None after `timeout_s` (None: it waits) or when it is closed."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._ended.is_set():
            delivery = self.claim()
            if delivery is not None:
                return delivery
            left_s = KNOCK_S if until is None else min(KNOCK_S, until - time.monotonic())
            if left_s <= 0:
                return None
            self._do_what_is_due()
            self.office.inbox.wait_for_knock(self.office.blocking(), self._boxes, max(left_s, 0.01))
        return None

    def claim(self) -> Delivery | None:
        """The most urgent message that waits now."""
        delivery = self.office.inbox.claim(
            self._boxes, receiver=self.name, lease_ms=round(self._lease_s * 1000), handoff_state=self._work
        )
        if delivery is not None:
            with self._lock:
                self._held.add(delivery.message.message_id)
        return delivery

    def close(self) -> None:
        """Give back what is still held, and leave."""
        self._ended.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=2 * _PAUSE_S)
        for record in self._still_held():
            message = record.message
            self.office.inbox.finish(
                message.message_id, "pending", receiver=self.name, box=record.box, priority=message.priority
            )
        self.office.directory.leave(self.name, [self.agent])
        if self._announce:
            self._tell("agent.stopped")

    # --- with a handler --------------------------------------------------------------------------------------

    def run(self, handler: Handler) -> None:
        """Be present, and handle messages one after the other, in a thread, until `close`."""
        self.open()
        self.take_with(handler)

    def take_with(self, handler: Handler) -> None:
        """Handle messages as `run` does; for a receiver that is open."""
        self._work = HandoffState.IN_PROGRESS
        self._start("receiver", lambda: self._turn(handler))

    def _turn(self, handler: Handler) -> None:
        delivery = self.next(KNOCK_S)
        if delivery is None:
            return
        self.office.carry(handle(self.office.inbox, self.office.settings, delivery, handler, Secrets(self._kept)))
        with self._lock:
            self._held.discard(delivery.message.message_id)

    # --- inside ----------------------------------------------------------------------------------------------

    def _beat(self, interval_s: float) -> None:
        self.office.directory.attend(self.name, self.agent)
        held = [record.message.message_id for record in self._still_held()]
        if held:
            self.office.inbox.extend(held, receiver=self.name, lease_ms=round(self._lease_s * 1000))
        self._ended.wait(interval_s)

    def _still_held(self) -> list[Any]:
        with self._lock:
            known = sorted(self._held)
        records = self.office.inbox.read_many(known)
        mine = [r for r in records if r.state is MessageState.DELIVERED and r.worker == self.name]
        with self._lock:
            self._held -= set(known) - {record.message.message_id for record in mine}
        return mine

    def _do_what_is_due(self) -> None:
        due = self._timers.take_due_messages(limit=100, hold_ms=_HOLD_MS)
        do_each(due.timers, partial(wake_message, self.office))

    def _tell(self, event: str) -> None:
        self.office.directory.announce(event, self.agent, most=self.office.settings.journal_events)

    def _start(self, name: str, turn: Callable[[], None]) -> None:
        def loop() -> None:
            while not self._ended.is_set():
                try:
                    turn()
                except Exception as error:
                    told = error.message if isinstance(error, OrchestratorError) else f"{type(error).__name__}: {error}"
                    log.warning("%s of %s: %s", name, self.agent, told)
                    self._ended.wait(_PAUSE_S)

        thread = threading.Thread(target=loop, name=f"orchestrator-{name}-{self.agent}", daemon=True)
        thread.start()
        self._threads.append(thread)
