"""`Bare`: plain Celery on a server of its own, treated like our fleet; and what became of what it was given.

Two settings: `defaults`, Celery's own; `best`, what it has against loss: `task_acks_late`,
`task_reject_on_worker_lost` and a prefetch of 1. The visibility timeout stays at its hour unless a test says so. All
that Celery loses is a figure of the report; a test fails only if it has not measured.

The app, its workers and its sender are processes of their own, because our runtime, which the test has imported,
replaces kombu's transport. The workers are hurt by `fleet.Worker`.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any, Self

from tests.faults.fleet import ROOT, Worker, _sessions
from tests.faults.oracle import FOLDER, Book, Pen
from tests.faults.servers import Server
from tests.faults.trial import Trial
from tests.waiting import wait_until

Json = Any
SETTINGS: dict[str, Json] = {
    "defaults": {},
    "best": {"task_acks_late": True, "task_reject_on_worker_lost": True, "worker_prefetch_multiplier": 1},
}
BOTH = tuple(SETTINGS)
QUEUE = "celery"  # the default one
START_S = 90.0
STOCK = "kombu.transport.redis:Transport"


@dataclass(frozen=True)
class Place:
    """Where the tasks are at some moment: names of keys."""

    accepted: set[str]
    ended: set[str]
    running: set[str]
    queued: set[str]
    unacked: set[str]
    failed: set[str]

    @property
    def waiting(self) -> set[str]:
        """Neither ended nor recorded as failed, but the broker or a worker that lives still has it."""
        return (self.queued | self.unacked | self.running) & self.accepted - self.ended - self.failed

    @property
    def lost(self) -> set[str]:
        """Accepted, not ended, nobody has it any more, and no failure is recorded: nobody will ever hear of it."""
        return self.accepted - self.ended - self.failed - self.waiting


class Bare:
    """A context manager: the sender, the workers and, without `server`, a server.

    Args:
        settings: `defaults` or `best`.
        name: of its folder, if there are several of one setting.
        server: one that is there; its owner ends it.
        worker_url, sender_url: what these are told instead of the server's address, such as a proxy's.
        config: more of Celery's settings.
    """

    def __init__(
        self, trial: Trial, settings: str, *, name: str = "", server: Server | None = None,
        worker_url: str | None = None, sender_url: str | None = None, **config: Json,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.folder = trial.folder / (name or settings)
        self.oracle = self.folder / "oracle"
        self.oracle.mkdir(parents=True)
        self.server = server or trial.enter(Server(self.folder / "server", tcp=True))
        self.workers: list[Worker] = []
        self.pen = Pen(self.oracle, "faults")
        self.exits = 0  # workers that have ended by themselves
        self._numbers = count(1)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORCHESTRATOR_", "CELERY_"))}
        self._environment = kept | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "PYTHONWARNINGS": "ignore",
            FOLDER: str(self.oracle),
            "BARE_CONFIG": json.dumps({**SETTINGS[settings], **config}),
        }
        self._worker_url = worker_url or self.server.url
        self._sender = self._open_sender(sender_url or self.server.url)

    # --- sending -------------------------------------------------------------------------------------------------

    def _open_sender(self, url: str) -> subprocess.Popen[bytes]:
        with (self.folder / "sender.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.faults.bare.sender", str(self.oracle)], cwd=self.folder,
                env={**self._environment, "BARE_BROKER": url}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def begin(
        self, keys: Iterable[str], task: str = "work", *, rate: float = 0.0, until: Path | None = None,
        options: Json = None, **kwargs: Json,
    ) -> None:  # fmt: skip
        """Have these published, `rate` a second, or until a file is there; `sent` waits for it."""
        job = {"task": task, "keys": list(keys), "rate": rate, "kwargs": kwargs, "options": options or {}}
        pipe: IO[bytes] = self._sender.stdin  # type: ignore[assignment]
        pipe.write(json.dumps({**job, "until": str(until) if until else ""}).encode() + b"\n")
        pipe.flush()

    def sent(self) -> None:
        """Wait for the end of `begin`."""
        assert self._hear() == "done"

    def send(self, keys: Iterable[str], task: str = "work", **options: Json) -> None:
        self.begin(keys, task, **options)
        self.sent()

    def _hear(self) -> Json:
        return json.loads(self._sender.stdout.readline())  # type: ignore[union-attr]

    # --- workers -------------------------------------------------------------------------------------------------

    def start(
        self, workers: int = 1, *, concurrency: int = 2, queue: str = QUEUE, pool: str = "prefork", wait: bool = True
    ) -> list[Worker]:
        """Start workers, and wait until they are ready."""
        started = [self._launch(queue, concurrency, pool) for _ in range(workers)]
        if wait:
            for worker in started:
                self.await_ready(worker)
        return started

    def _launch(self, queue: str, concurrency: int, pool: str) -> Worker:
        number = next(self._numbers)
        name = f"{queue}-{number}@bare"
        words = ["celery", "-A", "tests.faults.bare.app", "worker", "-l", "info", "-n", name, "-Q", queue]
        with self.log(number).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *words, "-c", str(concurrency), "-P", pool], cwd=self.folder,
                env={**self._environment, "BARE_BROKER": self._worker_url, "BARE_ROLE": "worker"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        worker = Worker(number, queue, process, supervised=False, pen=self.pen)
        self.workers.append(worker)
        return worker

    def log(self, number: int) -> Path:
        return self.folder / f"worker-{number}.log"

    def text(self, worker: Worker) -> str:
        return self.log(int(worker.name.rpartition("-")[2])).read_text(errors="replace")

    def await_ready(self, worker: Worker) -> None:
        wait_until(
            lambda: " ready." in self.text(worker), what=f"{worker}: {self.text(worker)[-2000:]}", timeout_s=START_S
        )

    def replace(self, worker: Worker, **options: Any) -> Worker:
        self.workers.remove(worker)
        return self.start(queue=worker.agent, **options)[0]

    def tend(self) -> None:
        """What a supervisor does: start again the workers that have ended."""
        for worker in [worker for worker in self.workers if not worker.alive]:
            self.exits += 1
            worker.kill()
            self.replace(worker, wait=False)

    def wait(self, seconds: float) -> None:
        """So long, under a supervisor."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self.tend()
            time.sleep(min(0.2, left_s))

    # --- what became of it ---------------------------------------------------------------------------------------

    @property
    def book(self) -> Book:
        return Book.read(self.oracle)

    def place(self) -> Place:
        """Of tasks of one step each. Asks in the order in which a task goes, so that none is missed on its way."""
        ids = {fate.id: key for key, fate in self.book.fates.items() if fate.id}
        with self.server.client() as client:  # the proxy is not before it
            queued, unacked = self.queued(client), self.unacked(client)
            failed = {key for given, key in ids.items() if _failed(client.get(f"celery-task-meta-{given}"))}
        tries = self.book.tries
        ended = {one.key for one in tries if one.end_s is not None}
        alive = {pid for worker in self.workers for pid in worker.pids()}
        running = {one.key for one in tries if one.end_s is None and one.pid in alive}
        return Place(set(ids.values()), ended, running, set(queued), set(unacked), failed)

    def queued(self, client: Json) -> list[str]:
        """The key of every message in the queues, whichever its priority; of those that are readable."""
        lists = [name for name in client.keys(f"{QUEUE}*") if client.type(name) == "list" and not name.endswith("wake")]
        return [key for name in lists for text in client.lrange(name, 0, -1) if (key := _key(text))]

    def unacked(self, client: Json) -> list[str]:
        return [key for text in client.hvals("unacked") if (key := _key(json.dumps(json.loads(text)[0])))]

    @property
    def refused(self) -> int:
        """Sends that raised."""
        return sum(len(fate.refused) for fate in self.book.fates.values())

    @property
    def slowest_send_s(self) -> float:
        tried: dict[str, float] = {}
        slowest = 0.0
        for line in self.book.lines:
            if line["what"] == "try":
                tried[line["key"]] = line["at_s"]
            elif line["what"] in ("accepted", "refused"):
                slowest = max(slowest, line["at_s"] - tried[line["key"]])
        return round(slowest, 1)

    def runs(self) -> dict[str, int]:
        """key -> how often it came to its effect."""
        found: dict[str, int] = {}
        for one in self.book.tries:
            found[one.key] = found.get(one.key, 0) + (one.effect_s is not None)
        return found

    def counts(self, **more: Json) -> Json:
        """Of tasks of one step each."""
        place = self.place()
        assert place.accepted, "nothing was accepted: nothing is measured"
        return {
            "refused": self.refused,
            "accepted": len(place.accepted),
            "ended": len(place.ended & place.accepted),
            "failed": len(place.failed - place.ended),
            "waiting": len(place.waiting),
            "lost": len(place.lost),
            "duplicated_effects": sum(times - 1 for times in self.runs().values() if times > 1),
            "workers_dead": self.exits,
            **more,
        }

    def settle(self, timeout_s: float) -> None:
        """Wait, under a supervisor, until all that is accepted has ended or failed or is lost; gives up quietly."""
        until_s = time.monotonic() + timeout_s
        while self.place().waiting and time.monotonic() < until_s:
            self.wait(0.2)

    # --- the end -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        hello = self._hear()
        assert hello["transport"] == STOCK, hello
        assert not hello["foreign"], hello
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.kill()
        self._sender.communicate()
        for worker in self.workers:
            worker.thaw()
            worker._end()
        assert not set(_sessions()) & {worker.process.pid for worker in self.workers}


def both(trial: Trial, **options: Any) -> list[Bare]:
    """One of each setting, on servers of their own."""
    sides = [Bare(trial, settings, **options) for settings in BOTH]  # they start at the same time
    return [trial.enter(side) for side in sides]


def together(*works: Any) -> None:
    """Call these at the same time; raises what one of them raises."""
    errors: list[BaseException] = []

    def run(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def names(total: int, name: str = "t") -> Sequence[str]:
    return [f"{name}-{number}" for number in range(total)]


def _key(text: str) -> str | None:
    """The key that a message of the broker carries: the first of its arguments, or a keyword."""
    try:
        args, kwargs, _ = json.loads(base64.b64decode(json.loads(text)["body"]))
        return str(kwargs["key"] if "key" in kwargs else args[0])
    except (LookupError, TypeError, ValueError, RecursionError):
        return None


def _failed(meta: str | None) -> bool:
    return bool(meta) and json.loads(str(meta))["status"] == "FAILURE"
