"""Messages sent and handled while a server is treated badly, and the judgement of what became of them.

What was sent and done stands in files that each process appends to (the oracle), never in the server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from orchestrator import Client, Settings, StoreUnavailable
from orchestrator.store.connection import leave
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
AGENTS = Path(__file__).with_name("server_agents.py")
ORACLE = "FAULT_ORACLE"  # environment variable: the folder of the oracle's files
WORK_S = "FAULT_WORK_S"  # environment variable: how long a handler works
#: 1 is the full load of a release, 0.1 that of every commit.
LOAD = float(os.environ.get("FAULT_LOAD", "0.1"))
TERMINAL = {"acknowledged", "failed", "dead", "expired"}
AGAIN_S = 0.05  # until a refused send is tried again, with the same key


class Oracle:
    """One file of what happened, a synced JSON line each."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(self, what: str, key: str, **more: Any) -> None:
        os.write(self._file, json.dumps({"at": time.time(), "what": what, "key": key, **more}).encode() + b"\n")
        os.fdatasync(self._file)

    def __del__(self) -> None:
        os.close(self._file)


@dataclass
class Verdict:
    """What became of the messages. Keys are those of the senders; times are seconds."""

    seed: int
    attempted: int = 0
    accepted: int = 0
    indeterminate: int = 0
    states: dict[str, int] = field(default_factory=dict)
    lost: dict[str, float] = field(default_factory=dict)  # key -> when it was accepted
    doubled: list[str] = field(default_factory=list)  # keys that became two messages
    extra_attempts: int = 0
    slowest_refusal_s: float = 0.0
    recovered_s: list[float] = field(default_factory=list)  # from the end of each fault to the next handler

    def check(self) -> None:
        """What holds in every test that promises to lose nothing."""
        assert self.attempted
        assert self.accepted >= 0.8 * self.attempted, self
        assert not self.lost, self
        assert not self.doubled, self


class Load:
    """Senders in threads, workers in processes; a context manager that leaves nothing behind.

    Args:
        rate: messages a second, of all senders together.
        work_s: how long a handler works.
        settings: for clients and workers, over a lease of 2 s.
    """

    def __init__(
        self, folder: Path, *, rate: float, senders: int = 2, seed: int = 0, work_s: float = 0, **settings: Any
    ) -> None:
        settings = {"lease_s": 2.0, "max_losses": 1000, **settings}
        self.folder = folder
        self.seed = seed
        self.settings = Settings(agents=(str(AGENTS),), **settings)
        self._pause_s = senders / rate
        self._senders = senders
        self._oracle = folder / "oracle"
        self._oracle.mkdir(parents=True)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._workers: list[subprocess.Popen[bytes]] = []
        self.client = Client(self.settings)
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "CELERY_"))
        } | {
            **{f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in {**settings, "agents": AGENTS}.items()},
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            ORACLE: str(self._oracle),
            WORK_S: str(work_s),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_sending()
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait(10)
        self.client.close()
        leave(self.client.url)

    # --- workers -------------------------------------------------------------------------------------------------

    def start_worker(self, concurrency: int = 2) -> None:
        """Start one, wait until it serves, and until the server has synced that it does."""
        before = len(self._online())
        with (self.folder / "workers.log").open("ab") as log:
            words = [sys.executable, "-m", "orchestrator", "worker", "listener", "--pool", "threads"]
            words += ["-c", str(concurrency)]
            self._workers.append(
                subprocess.Popen(
                    words, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )
        wait_until(lambda: len(self._online()) > before, what="the worker", timeout_s=40)
        self.client.store.client.waitaof(1, 0, 5000)

    def _online(self) -> list[str]:
        return next((agent["workers"] for agent in self.client.agents() if agent["name"] == "listener"), [])

    def workers_alive(self) -> bool:
        """Whether none of the commands has ended."""
        return all(worker.poll() is None for worker in self._workers)

    @property
    def log(self) -> str:
        return (self.folder / "workers.log").read_text(errors="replace")

    # --- senders -------------------------------------------------------------------------------------------------

    def send(self, limit: int | None = None) -> None:
        """Start to send: until told to stop, or so many messages in all."""
        for number in range(self._senders):
            most = None if limit is None else limit // self._senders
            self._threads.append(threading.Thread(target=self._send_on, args=(number, most), daemon=True))
        for thread in self._threads:
            thread.start()

    def wait_until_sent(self, timeout_s: float) -> None:
        """Until the limit given to `send` is reached."""
        wait_until(
            lambda: not any(thread.is_alive() for thread in self._threads), what="the senders", timeout_s=timeout_s
        )

    def wait_until_refused(self, timeout_s: float) -> None:
        wait_until(lambda: self._noted("indeterminate"), what="a refused send", timeout_s=timeout_s)

    def wait_until_accepted_after(self, at: float, timeout_s: float) -> None:
        wait_until(lambda: self._noted("accepted", at), what="an accepted send", timeout_s=timeout_s)

    def count(self, what: str) -> int:
        """How many messages have been noted so."""
        return len({note["key"] for note in self._noted(what)})

    def _noted(self, what: str, after: float = 0.0) -> list[dict[str, Any]]:
        notes = self.notes()
        assert not [note for note in notes if note["what"] == "unexpected"], notes[-5:]
        return [note for note in notes if note["what"] == what and note["at"] > after]

    def stop_sending(self) -> None:
        """The sends under way end first: a message that was refused is not given up but tried again for 30 s."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _send_on(self, sender: int, limit: int | None) -> None:
        oracle = Oracle(self._oracle / f"sender-{sender}")
        began, number = time.monotonic(), 0
        while not self._stopping.is_set() and number != limit:
            self._stopping.wait(max(0.0, began + number * self._pause_s - time.monotonic()))
            self._send_one(oracle, f"{sender}-{number}")
            number += 1

    def _send_one(self, oracle: Oracle, key: str) -> None:
        """Send until it is accepted, or until the test is over."""
        oracle.note("try", key)
        give_up = None
        while True:
            began = time.monotonic()
            try:
                receipt = self.client.send("listener", key, idempotency_key=key)
            except StoreUnavailable as error:
                oracle.note("indeterminate", key, after_s=time.monotonic() - began, why=error.message)
                if self._stopping.is_set():
                    give_up = give_up or time.monotonic() + 30
                    if time.monotonic() > give_up:
                        return
                time.sleep(AGAIN_S)
            except Exception as error:
                oracle.note("unexpected", key, error=repr(error))
                raise
            else:
                oracle.note("accepted", key, id=receipt.message_id)
                return

    # --- judgement -----------------------------------------------------------------------------------------------

    def notes(self) -> list[dict[str, Any]]:
        """What senders and handlers have noted, in the order of time."""
        lines = [line for file in self._oracle.iterdir() for line in file.read_text().splitlines()]
        return sorted(map(json.loads, lines), key=lambda note: float(note["at"]))

    def judge(self, *, faults_ended: Iterable[float] = (), timeout_s: float = 60) -> Verdict:
        """Wait until every accepted message that is there is over, and compare.

        Args:
            faults_ended: times at which something should go on again.
        """
        notes = self.notes()
        accepted = {note["key"]: note for note in notes if note["what"] == "accepted"}
        ids = {note["key"]: note["id"] for note in accepted.values()}
        until = time.monotonic() + timeout_s
        while not _over(states := self._states(ids)) and time.monotonic() < until:
            time.sleep(0.2)
        notes = self.notes()
        starts = [note for note in notes if note["what"] == "start"]
        counts: dict[str, int] = defaultdict(int)
        for state in states.values():
            counts[state or "gone"] += 1
        known: dict[str, set[str]] = defaultdict(set)
        for note in [*starts, *accepted.values()]:
            known[note["key"]].add(note["id"])
        return Verdict(
            seed=self.seed,
            attempted=len({note["key"] for note in notes if note["what"] == "try"}),
            accepted=len(accepted),
            indeterminate=len({note["key"] for note in notes if note["what"] == "indeterminate"}),
            states=dict(counts),
            lost={key: accepted[key]["at"] for key, state in states.items() if state not in TERMINAL},
            doubled=[key for key, found in known.items() if len(found) > 1],
            extra_attempts=len(starts) - len({note["id"] for note in starts}),
            slowest_refusal_s=max((note["after_s"] for note in notes if note["what"] == "indeterminate"), default=0.0),
            recovered_s=[
                round(min((note["at"] - ended for note in starts if note["at"] > ended), default=-1.0), 2)
                for ended in faults_ended
            ],
        )

    def _states(self, ids: dict[str, str]) -> dict[str, str | None]:
        """key -> state of its message; None: it is not there."""
        store = self.client.store
        with store.client.pipeline(transaction=False) as pipe:
            for message_id in ids.values():
                pipe.hget(store.keys.message(message_id), "state")
            return dict(zip(ids, pipe.execute(), strict=True))


def _over(states: dict[str, str | None]) -> bool:
    return all(state is None or state in TERMINAL for state in states.values())
