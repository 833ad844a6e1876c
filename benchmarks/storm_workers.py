"""The workers of the storm: processes in groups of their own, of which one is killed and replaced again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

from benchmarks.sides import ROOT
from benchmarks.storm_agents import AGENTS

FILE = str(ROOT / "benchmarks" / "storm_agents.py")
NAMES = tuple(agent.name for agent in AGENTS)
WORKERS_EACH = 2


class Workers:
    """The worker processes, and a thread that kills one of them again and again and starts it anew.

    Args:
        folder: where what they print goes.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._environment = environment
        self._log = (folder / "workers.log").open("ab")
        self._running = [(name, self._start(name)) for name in NAMES for _ in range(WORKERS_EACH)]
        self._over = threading.Event()
        self.kills = 0

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "orchestrator", "worker", name, "-c", "1", "--agents", FILE]
        return subprocess.Popen(
            [*command, "--log-level", "warning"], cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip

    def kill_for_ever(self, every_s: float, chance: random.Random) -> None:
        """Until `close`."""
        while not self._over.wait(every_s):
            at = chance.randrange(len(self._running))
            name, worker = self._running[at]
            _kill_group(worker)
            self._running[at] = (name, self._start(name))
            self.kills += 1

    def stop_killing(self) -> None:
        self._over.set()

    def close(self) -> None:
        for _, worker in self._running:
            _kill_group(worker)
        self._log.close()


def _kill_group(worker: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a worker and its children; it leads a group of its own, and is not reaped before this."""
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(30)
