"""One server of its own, a client, and workers whose log is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from benchmarks.transport_kills import until
from orchestrator import Client, Settings
from orchestrator.store import embedded
from orchestrator.workflow.plan import Plan

ROOT = Path(__file__).parents[2]
AGENTS = str(Path(__file__).with_name("agents.py"))
Json = Any


class Bench:
    """A new embedded server (append-only file, everysec) in a folder that goes with it.

    Args:
        apart: another server is the broker.
    """

    def __init__(self, *, apart: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.servers = [embedded.acquire(Path(self._folder.name) / name) for name in ("state", "broker")[: 1 + apart]]
        self.server, broker = self.servers[0], self.servers[1].url if apart else None
        self.environment = {**os.environ, "ORCHESTRATOR_URL": self.server.url}
        self.environment |= {"ORCHESTRATOR_BROKER_URL": broker} if broker else {}
        self.client = Client(Settings(url=self.server.url, broker_url=broker, agents=(AGENTS,), deadline_s=60))
        self.redis, *_ = self._clients = [
            redis.Redis(unix_socket_path=str(server.socket_path), decode_responses=True) for server in self.servers
        ]
        self.log = Path(self._folder.name) / "workers.log"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()
        for client, server in zip(self._clients, self.servers, strict=True):
            client.close()
            server.release()
            # Its guard tidies the folder, which nobody may remove meanwhile.
            until(lambda home=server.home: embedded.status(home).guard_pid is None, "the end of the server")
        self._folder.cleanup()

    def compile(self, name: str, steps: list[Json]) -> Plan:
        file = Path(self._folder.name) / f"{name}.yaml"
        file.write_text(json.dumps({"name": name, "steps": steps}))
        return self.client.compile(file)

    @contextmanager
    def workers(self, agent: str, count: int = 1) -> Iterator[None]:
        """So many workers of an agent, with one slot each; the first heartbeat of each has come."""
        words = [sys.executable, "-m", "orchestrator", "worker", agent, "-c", "1", "--agents", AGENTS]
        words += ["--log-level", "warning"]
        with self.log.open("a") as log:
            started = [
                subprocess.Popen(words, cwd=ROOT, env=self.environment, stdout=log, stderr=log) for _ in range(count)
            ]
            try:
                until(lambda: len(self.online(agent)) == count, f"{count} workers of {agent}")
                yield
            finally:
                for worker in started:
                    worker.terminate()
                for worker in started:
                    worker.wait(60)

    def online(self, agent: str) -> list[str]:
        return next((list(load.workers) for load in self.client.loads() if load.name == agent), [])

    def memory(self) -> int:
        """Bytes that the server's allocator has given out."""
        self.redis.memory_purge()
        return int(self.redis.info("memory")["used_memory"])

    def cpu_us(self, at: int = 0) -> float:
        """Time that the server has worked, in microseconds; that of the broker with 1."""
        found = self._clients[at].info("cpu")
        return 1e6 * (float(found["used_cpu_user"]) + float(found["used_cpu_sys"]))

    def requests(self) -> int:
        """How often the server has read something that a client sent."""
        return int(self.redis.info("stats")["total_reads_processed"])

    @contextmanager
    def watch(self, key: str) -> Iterator[Callable[[float, float], int | None]]:
        """Look at a sorted set ten times a second, while what is in it is worked off.

        Gives a function (from, to) -> how many a second in that part of the work, both as shares; None: too short.
        """
        seen: list[tuple[float, int]] = []
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.1):
                seen.append((time.perf_counter(), int(self.redis.zcard(key))))

        def rate(start: float, end: float) -> int | None:
            total = seen[0][1]
            part = [(at, left) for at, left in seen if 0 < left < total and start <= 1 - left / total <= end]
            if len(part) < 2:
                return None
            (began, first), (ended, last) = part[0], part[-1]
            return round((first - last) / (ended - began))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield rate
        finally:
            over.set()
            thread.join()

    def times_ms(self, call: Callable[[], object], rounds: int) -> list[float]:
        """How long a call takes, after one that does not count."""
        call()
        found = []
        for _ in range(rounds):
            began = time.perf_counter()
            call()
            found.append((time.perf_counter() - began) * 1e3)
        return found

    def command_ms(self, *words: str) -> float:
        """How long a command takes from its start to its end."""
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "orchestrator", *words], env=self.environment, check=True, stdout=subprocess.DEVNULL
        )
        return (time.perf_counter() - began) * 1e3
