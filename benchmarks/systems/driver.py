"""The driver of a system that has workers, on the server of the benchmark: what is measured, and how.

Each such system defines how its worker is started, how its workflows and messages look, and no clock of its own.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from benchmarks.systems.handlers import server
from benchmarks.systems.protocol import SLOTS, Answer

PATIENCE_S = 300
WARM_UP = 100  # steps
MESSAGE_BYTES = 200
PAUSE_S = (0.002, 0.012)  # between single messages; uniform, so that no worker's own rhythm shows
Submit = Callable[[], Any]  # its result is what `wait` needs


class Driver:
    """A system with worker processes on the server of the benchmark.

    The last step of each workflow puts an entry into the list `self.ended`, on every system alike.
    """

    #: Method of a request -> why this system cannot do it.
    cannot: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self.ended = f"ended:{type(self).__name__}"
        self.server = server()
        self._workers: list[subprocess.Popen[bytes]] = []
        self._chance = random.Random(1)

    # --- what a system defines -----------------------------------------------------------------------------------

    def command(self, agents: Sequence[str]) -> list[str]:
        """The command that starts the workers of these agents, with `SLOTS` slots in all."""
        raise NotImplementedError

    # The next three prepare what is prepared once for many submits, and return the function that submits.

    def make_sequence(self, steps: int, agents: Sequence[str]) -> Submit:
        """No-op steps, one after the other, by the agents in turn."""
        raise NotImplementedError

    def make_payload(self, steps: int) -> Submit:
        """A sequence of steps that each add a piece of 10 KB; one more step then has all of them."""
        raise NotImplementedError

    def make_fan(self, width: int, form: str) -> Submit:
        """So many no-op steps at once, and one step when all of them are done."""
        raise NotImplementedError

    def send(self, text: str, urgent: bool = False) -> None:
        """Send a message to the agent `solo`; an urgent one overtakes, as far as the system knows how."""
        raise NotImplementedError

    def wait(self, submitted: Any) -> None:
        """Until the submitter knows of the workflow's end."""
        self.take(self.ended)

    def check(self, submitted: Sequence[Any]) -> None:
        """Whether these workflows succeeded; outside the time that counts."""

    # --- workers -------------------------------------------------------------------------------------------------

    def start(self, agents: Sequence[str]) -> Answer:
        """Start workers, wait until all of them work, and let them warm up."""
        self.spawn(agents)
        self.wait(self.make_sequence(WARM_UP, agents)())
        return {"pid": self._workers[-1].pid}

    def spawn(self, agents: Sequence[str]) -> None:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        self._workers.append(subprocess.Popen(self.command(agents), **quiet))

    def stop(self) -> None:
        while self._workers:
            worker = self._workers.pop()
            worker.terminate()
            worker.wait(60)

    def take(self, key: str) -> float:
        """Wait for an entry in a list. Returns it: when it was made, by the clock `time.monotonic`."""
        found = self.server.blpop([key], timeout=PATIENCE_S)
        if found is None:
            raise TimeoutError(f"nothing in {key} within {PATIENCE_S} s")
        return float(found[1])

    def take_all(self, key: str, count: int) -> float:
        """Wait until a list has so many entries; the latest. It looks now and then only, to leave the cores alone."""
        deadline = time.monotonic() + PATIENCE_S
        while self.server.llen(key) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.server.llen(key)} of {count} in {key} within {PATIENCE_S} s")
            time.sleep(0.005)
        entries = self.server.lrange(key, 0, -1)
        self.server.delete(key)
        return max(map(float, entries))

    # --- what is measured ----------------------------------------------------------------------------------------

    def sequence(self, steps: int, agents: Sequence[str]) -> Answer:
        return self._run(self.make_sequence(steps, agents))

    def payload(self, steps: int) -> Answer:
        return self._run(self.make_payload(steps))

    def fan(self, width: int, form: str) -> Answer:
        return self._run(self.make_fan(width, form))

    def _run(self, submit: Submit) -> Answer:
        """From before the submit until the submitter knows of the end."""
        began = time.monotonic()
        submitted = submit()
        self.wait(submitted)
        took = time.monotonic() - began
        self.check([submitted])
        return {"s": took}

    def throughput(self, workflows: int, steps: int, agents: Sequence[str]) -> Answer:
        """From the first submit until the last step of the last workflow."""
        submit = self.make_sequence(steps, agents)
        began = time.monotonic()
        submitted = [submit() for _ in range(workflows)]
        last = self.take_all(self.ended, workflows)
        self.check(submitted)
        return {"s": last - began}

    def submit(self, workflows: int, steps: int, agents: Sequence[str]) -> Answer:
        """How long the submits of one client take; no worker runs."""
        submit = self.make_sequence(steps, agents)
        began = time.monotonic()
        for _ in range(workflows):
            submit()
        return {"s": time.monotonic() - began}

    def submit_many(self, workflows: int, steps: int, agents: Sequence[str]) -> Answer:
        """The same, when the client has all of them at hand: one after another where nothing is faster."""
        return self.submit(workflows, steps, agents)

    def message(self) -> Answer:
        """From before a message is sent until its handler starts."""
        key = uuid.uuid4().hex
        sent = time.monotonic()
        self.send(f"tell {key}".ljust(MESSAGE_BYTES))
        started = self.take(key)
        time.sleep(self._chance.uniform(*PAUSE_S))
        return {"s": started - sent}

    def backlog(self, messages: int, work_ms: float, urgent_every_s: float | None = None) -> Answer:
        """Work off messages that were there before; meanwhile, send an urgent one every so often.

        Returns:
            s: from the release of the slots until the handler of the last message starts; urgent_s: the median from
            sending to the start of the handler.
        """
        hold, last, urgent = (uuid.uuid4().hex for _ in range(3))
        for _ in range(SLOTS):
            self.send(f"hold {hold}")
        self.take_all(f"{hold}:held", SLOTS)
        for _ in range(messages - 1):
            self.send(f"work {work_ms}".ljust(MESSAGE_BYTES))
        self.send(f"tell {last}")
        began = time.monotonic()
        self.server.rpush(hold, *(["go"] * SLOTS))
        waits = []
        while urgent_every_s and not self.server.exists(last):
            time.sleep(urgent_every_s)
            sent = time.monotonic()
            self.send(f"tell {urgent}", urgent=True)
            waits.append(self.take(urgent) - sent)
        return {"s": self.take(last) - began} | ({"urgent_s": statistics.median(waits)} if waits else {})

    def launch(self) -> Answer:
        """From the start of the worker's command until it handles a message that was there before."""
        self.stop()
        key = uuid.uuid4().hex
        self.send(f"tell {key}")
        began = time.monotonic()
        self.spawn(["solo"])
        started = self.take(key)
        self.stop()
        return {"s": started - began}
