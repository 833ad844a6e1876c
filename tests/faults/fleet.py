"""The workers of one fault test: real `orchestrator worker` processes in sessions of their own, and ways to hurt them.

Each worker is the tree that a user has: a supervisor, Celery's main process, its pool's children. With
`supervised=False` nobody starts the main process again. `close` ends everything and fails if something is left.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Literal

from orchestrator import Client, Settings
from orchestrator.agents.loading import load_agents
from orchestrator.errors import StoreUnavailable
from orchestrator.runtime.app import make_app
from orchestrator.runtime.worker import serve
from orchestrator.store import embedded
from orchestrator.store.connection import leave
from tests.faults.oracle import FOLDER, Pen
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
AGENTS = Path(__file__).with_name("agents.py")

Part = Literal["all", "main", "child"]


class Worker:
    """One started worker. `part` below: `all` its processes, Celery's `main` process, or one `child` of its pool."""

    def __init__(
        self, number: int, agent: str, process: subprocess.Popen[bytes], *, supervised: bool, pen: Pen
    ) -> None:
        self.name = f"{agent}-{number}"
        self.agent = agent
        self.process = process
        self.frozen: list[int] = []
        self.leaving = False
        self._supervised = supervised
        self._pen = pen

    def __repr__(self) -> str:
        return f"Worker({self.name}, pid {self.process.pid})"

    def pids(self, part: Part = "all") -> list[int]:
        """The processes that live now, the oldest ancestor first. `child` is all children of the pool."""
        session = _sessions().get(self.process.pid, {})
        if part == "all":
            return sorted(session, key=lambda pid: (pid != self.process.pid, pid))
        mains = [self.process.pid]
        if self._supervised:
            mains = [pid for pid, parent in session.items() if parent == self.process.pid]
        return mains if part == "main" else [pid for pid, parent in session.items() if parent in mains]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self, part: Part = "all") -> list[int]:
        """SIGKILL. Waits until what was killed is gone; returns the pids whose work is cut off."""
        if part == "all":
            return self._kill_all()
        hit = self._choose(part)
        cut = [*hit, *(self.pids("child") if part == "main" else [])]
        self._fault("kill", cut)
        _signal(hit, signal.SIGKILL)
        wait_until(lambda: not set(hit) & set(self.pids()), what=f"the end of {hit} of {self}", timeout_s=15)
        return cut

    def _kill_all(self) -> list[int]:
        cut = self.pids()
        self._fault("kill", cut)
        self._end()
        return cut

    def term(self) -> None:
        """SIGTERM to the process that a user sees: a warm stop. Does not wait."""
        self.leaving = True
        self._fault("term", [])
        _signal([self.process.pid], signal.SIGTERM)

    def quit(self) -> None:
        """SIGQUIT to Celery's main process: a cold stop. Does not wait."""
        self.leaving = True
        self._fault("quit", self.pids())
        _signal(self.pids("main"), signal.SIGQUIT)

    def freeze(self, part: Part = "all") -> list[int]:
        """SIGSTOP, until `thaw`. Returns the pids."""
        hit = self._choose(part)
        self._fault("freeze", hit)
        _signal(hit, signal.SIGSTOP)
        self.frozen += hit
        return hit

    def thaw(self) -> None:
        """SIGCONT to everything that is frozen."""
        hit, self.frozen = self.frozen, []
        _signal(hit, signal.SIGCONT)
        self._pen.write("healed", self.name, kind="freeze", pids=hit)

    def wait(self, timeout_s: float) -> int:
        """Wait for the end that was asked for. Returns the exit code."""
        return self.process.wait(timeout_s)

    def _choose(self, part: Part) -> list[int]:
        found = self.pids(part)
        return found[:1] if part == "child" else found

    def _fault(self, kind: str, pids: Sequence[int]) -> None:
        self._pen.write("fault", self.name, kind=kind, pids=list(pids))

    def _end(self) -> None:
        """Kill until nothing of the session is left: a dying supervisor may have forked once more."""

        def gone() -> bool:
            _signal(self.pids(), signal.SIGKILL)
            return self.process.poll() is not None and not self.pids()

        wait_until(gone, what=f"the end of {self}", timeout_s=15)


class Fleet:
    """The client, the workers and the server of one test. A context manager.

    Args:
        folder: of the test; logs and the embedded server's state go there.
        oracle: the folder of the oracle's lines.
        url: a server that is there; None: an embedded one.
        worker_url: what workers are told instead, such as a proxy's address.
        options: settings that differ from the defaults, for the workers and the client.
    """

    def __init__(
        self, folder: Path, oracle: Path, *, url: str | None = None, worker_url: str | None = None,
        agents: Path = AGENTS, **options: Any,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.home = folder / "state"
        self.oracle = oracle
        self.settings = Settings(home=self.home, url=url, agents=(str(agents),), **options)
        self.client = Client(self.settings)
        self.workers: list[Worker] = []
        self._pen = Pen(oracle, "faults")
        self._numbers = count(1)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORCHESTRATOR_", "CELERY_"))}
        server = worker_url or url
        self.environment = kept | {
            "ORCHESTRATOR_HOME": str(self.home),
            "ORCHESTRATOR_AGENTS": str(agents),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            FOLDER: str(oracle),
            **({"ORCHESTRATOR_URL": server} if server else {}),
            **{f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in options.items()},
        }

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- workers -------------------------------------------------------------------------------------------------

    def start(
        self, *agents: str, each: int = 1, concurrency: int = 2, pool: str = "prefork", supervised: bool = True,
        wait: bool = True, before: Sequence[str] = (), environment: Mapping[str, str] | None = None,
    ) -> list[Worker]:  # fmt: skip
        """Start workers, each of one agent, and wait until all are present.

        Args:
            each: workers per agent.
            before: words before the command: `prlimit --as=300000000`, `ip netns exec NAME`, `faketime ...`.
            environment: what these workers are told besides.
        """
        seen = self.online() if wait else {}  # the server may just be down
        started = [
            self._launch(agent, concurrency, pool, supervised, before, environment or {})
            for agent in agents for _ in range(each)
        ]  # fmt: skip
        if wait:

            def all_there() -> bool:
                now = self.online()
                return all(len(now.get(agent, set()) - seen.get(agent, set())) >= each for agent in agents)

            wait_until(all_there, what=f"workers of {', '.join(agents)}\n{self.log[-3000:]}", timeout_s=60, every_s=0.1)
        return started

    def replace(self, worker: Worker, **options: Any) -> Worker:
        """Start another worker of the same agent in the place of one that is gone. Does not wait for it."""
        self.workers.remove(worker)
        return self.start(worker.agent, wait=False, **options)[0]

    def _launch(
        self, agent: str, concurrency: int, pool: str, supervised: bool, before: Sequence[str], more: Mapping[str, str]
    ) -> Worker:
        serves = ["orchestrator", "worker", "--log-level", "warning", "--pool", pool, "-c", str(concurrency), agent]
        words = serves if supervised else ["tests.faults.fleet", agent, str(concurrency), pool]
        with (self.folder / "workers.log").open("ab") as log:
            process = subprocess.Popen(
                [*before, sys.executable, "-m", *words], cwd=self.folder, env={**self.environment, **more},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        worker = Worker(next(self._numbers), agent, process, supervised=supervised, pen=self._pen)
        self.workers.append(worker)
        return worker

    def online(self) -> dict[str, set[str]]:
        """agent -> names of the workers that serve it."""
        return {agent["name"]: set(agent["workers"]) for agent in self.client.agents()}

    def present(self) -> list[Worker]:
        """The workers that live and have reported."""
        reported = {name for names in self.online().values() for name in names}
        mains = {int(name.partition("@")[0].rpartition(".")[2]) for name in reported}
        sessions = _sessions()
        return [worker for worker in self.workers if worker.alive and mains & set(sessions.get(worker.process.pid, {}))]

    @property
    def log(self) -> str:
        """What all workers have written so far."""
        file = self.folder / "workers.log"
        return file.read_text(errors="replace") if file.exists() else ""

    # --- anything else that a test does -----------------------------------------------------------------------------

    def note(self, what: Literal["fault", "healed"], kind: str, **fields: Any) -> None:
        """Tell the oracle of a fault that the test itself made, such as a dead server, and of its end."""
        self._pen.write(what, kind, kind=kind, **fields)

    def call(
        self, *words: str, timeout_s: float = 60, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of `orchestrator` to its end. `environment`: what it is told besides."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *words], cwd=self.folder, timeout=timeout_s,
            env={**self.environment, **(environment or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    def left_behind(self, timeout_s: float = 20) -> dict[str, int]:
        """What the engine still remembers of runs and messages that are over, after so long to tidy up (I11)."""
        until_s = time.monotonic() + timeout_s
        while (left := self._remembered()) and time.monotonic() < until_s:
            time.sleep(0.2)
        return left

    def _remembered(self) -> dict[str, int]:
        redis, keys = self.client.store.client, self.client.store.keys
        sizes: dict[str, Any] = {
            "timers": redis.zcard(keys.timers), "message timers": redis.zcard(keys.message_timers),
            "ready": redis.zcard(keys.ready), "rings": redis.zcard(keys.rings), "held": redis.hlen(keys.held),
            "inboxes": sum(redis.zcard(key) for key in redis.scan_iter(keys.inbox("*"))),
        }  # fmt: skip
        return {name: size for name, size in sizes.items() if size}

    # --- the end -----------------------------------------------------------------------------------------------------

    def stop(self, timeout_s: float = 30) -> None:
        """SIGTERM to all workers; AssertionError if a process is left after `timeout_s` (I11)."""
        for worker in self.workers:
            worker.thaw()
            worker.term()
        self._wait_for_none(timeout_s)

    def close(self) -> None:
        """Kill what is left of the workers, and give up the server; AssertionError if anything stays."""
        for worker in self.workers:
            _signal(worker.pids(), signal.SIGKILL)
        for worker in self.workers:
            worker._end()
        self.client.close()
        leave(self.client.url)
        if self.settings.embedded:
            wait_until(lambda: embedded.status(self.home).guard_pid is None, what="the end of the server", timeout_s=20)

    def _wait_for_none(self, timeout_s: float) -> None:
        def left() -> list[int]:
            return [pid for worker in self.workers for pid in worker.pids()]

        for worker in self.workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(timeout_s)
        wait_until(lambda: not left(), what=f"the end of {left()}", timeout_s=5)


class Storm:
    """A thread that hurts a random worker every `every_s` seconds, and replaces those that end. Seeded.

    Args:
        acts: among these it chooses; `stop` freezes for `freeze_s`.
        spare: a worker is hurt only while so many others of its agent are present, so that the times that are measured
            are the engine's and not those of starting Python on a busy machine.
    """

    def __init__(
        self, fleet: Fleet, chance: random.Random, *, every_s: float,
        acts: Sequence[Literal["kill", "term", "stop"]] = ("kill",), freeze_s: float = 5.0, spare: int = 1,
        **options: Any,
    ) -> None:  # fmt: skip
        self.counts: dict[str, int] = dict.fromkeys(acts, 0)
        self._fleet = fleet
        self._chance = chance
        self._every_s = every_s
        self._freeze_s = freeze_s
        self._spare = spare
        self._options = options
        self._over = threading.Event()
        self._thaws: list[threading.Timer] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="storm", daemon=True)

    def __enter__(self) -> Storm:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """No more blows; what is frozen thaws."""
        self._over.set()
        self._thread.join()
        for timer in self._thaws:
            timer.join()
        self._replace_the_dead()
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._over.wait(self._every_s):
                self._replace_the_dead()
                self._strike()
        except BaseException as error:
            self._error = error

    def _strike(self) -> None:
        awake = self._victims()
        if not awake:
            return
        worker, act = self._chance.choice(awake), self._chance.choice(list(self.counts))
        self.counts[act] += 1
        if act == "kill":
            worker.kill()
            self._replace_the_dead()
        elif act == "term":
            worker.term()
        else:
            worker.freeze()
            timer = threading.Timer(self._freeze_s, worker.thaw)
            timer.start()
            self._thaws.append(timer)

    def _victims(self) -> list[Worker]:
        try:
            present = self._fleet.present()
        except StoreUnavailable:  # the test hurts the server as well
            return []
        awake = [worker for worker in present if not worker.frozen and not worker.leaving]
        agents = Counter(worker.agent for worker in awake)
        return [worker for worker in awake if agents[worker.agent] > self._spare]

    def _replace_the_dead(self) -> None:
        for worker in list(self._fleet.workers):
            if not worker.alive:
                self._fleet.replace(worker, **self._options)


def is_killed(work: Callable[[], object]) -> bool:
    """Whether a child process that does this ends by SIGKILL."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _sessions() -> dict[int, dict[int, int]]:
    """session -> {pid: parent} of the processes that live."""
    found: dict[int, dict[int, int]] = {}
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        pid, parent, state = line.split()[:3]
        if not state.startswith("Z"):
            with suppress(ProcessLookupError):
                found.setdefault(os.getsid(int(pid)), {})[int(pid)] = int(parent)
    return found


def _serve_alone(agent: str, concurrency: str, pool: Any) -> int:
    settings = Settings.load()
    load_agents(settings.agents)
    return serve(make_app(settings), agent, concurrency=int(concurrency), pool=pool, log_level="warning")


if __name__ == "__main__":
    sys.exit(_serve_alone(*sys.argv[1:]))
