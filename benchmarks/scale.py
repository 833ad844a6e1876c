"""Wide, long and deep workflows: do they succeed, what does a step cost, and how much memory does a worker take?

Run: python -m benchmarks.scale [--rounds 3] [--share 1.0] [--only SHAPE ...]. Prints a table, writes
benchmarks/results/scale.json, and exits 1 if a bound is broken.

Everything runs on one worker with one slot (prefork), so that time per step can be compared whatever the shape: a
foreach with `max_parallel: 50` or a graph is then worked off one step after the other, as a chain is. Before and after
each shape a chain of 100 runs `SMALL_RUNS` times on the same worker; a round compares the shape with the median of
these, and the table shows the medians over the rounds. Time is from submit (the definition is new to the server each
time, and already compiled) until the end is seen by the submitter. A step is an attempt of the agent.

Memory is the resident set of the worker with its processes: after a warm-up of chains, and after each shape.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.sides import PACKAGES, ROOT
from benchmarks.transport_kills import until
from orchestrator import Client, Settings
from orchestrator.states import RunState
from orchestrator.store import embedded
from orchestrator.workflow.plan import Plan

AGENTS = str(ROOT / "benchmarks" / "scale_agents.py")
SMALL, SMALL_RUNS, WARM_UP = 100, 5, 10
MOST_RATIO, MOST_MIB = 1.25, 50
AGENT_STEP = {"agent": "scale", "task": "go"}
Json = Any


def chain(length: int) -> list[Json]:
    return [{"id": f"s{at}", **AGENT_STEP} for at in range(length)]


def foreach(items: int) -> list[Json]:
    made = {"id": "made", "agent": "scale", "task": "numbers", "with": {"count": items}}
    each = {"foreach": "${{ steps.made.output }}", "max_parallel": 50, "with": {"value": "${{ item }}"}}
    return [made, {"id": "each", **each, **AGENT_STEP}]


def graph(length: int) -> list[Json]:
    """Steps that need about three of the fifty before them each: three times as many edges as steps."""
    chance = random.Random(1)
    needs = [chance.sample(range(max(0, at - 50), at), min(at, 3)) for at in range(length)]
    missing = 3 * length - sum(map(len, needs))
    for at in range(length - missing, length):
        needs[at].append(next(other for other in range(at) if other not in needs[at]))
    return [{"id": f"s{at}", "needs": [f"s{other}" for other in needs[at]], **AGENT_STEP} for at in range(length)]


def nested(depth: int) -> list[Json]:
    """Containers inside one another, `depth` levels with the innermost steps; each holds a step and the next one.

    The first two loops have two rounds and the first two foreach two items, so that what is inside runs 16 times.
    """
    steps: list[Json] = [{"id": "core", **AGENT_STEP}]
    for level in reversed(range(depth - 1)):
        twice = level < 8
        step = {"id": f"s{level}", **AGENT_STEP}
        body = [step, *steps]
        kind = ("loop", "foreach", "parallel", "steps")[level % 4]
        if kind == "loop":
            until = f"${{{{ round.index == {int(twice)} }}}}"
            outer: Json = {"loop": {"until": until, "max_iterations": 2}, "steps": body}
        elif kind == "foreach":
            outer = {"foreach": [1, 2] if twice else [1], "steps": body}
        elif kind == "parallel":
            outer = {"parallel": [step, {"steps": steps}]}
        else:
            outer = {"when": "${{ true }}", "steps": body}
        steps = [{"id": f"c{level}", **outer}]
    return steps


SHAPES: dict[str, tuple[str, Callable[[int], list[Json]], int]] = {
    "foreach": ("a foreach over {} items, 50 at a time", foreach, 10_000),
    "chain": ("a chain of {} steps", chain, 3_000),
    "graph": ("a graph of {} steps, three edges each", graph, 1_000),
    "nested": ("containers nested {} deep", nested, 32),
}


class Bench:
    """The server, one worker, and the client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = embedded.acquire(folder / "state")
        self.client = Client(Settings(url=self.server.url, agents=(AGENTS,)))
        words = [sys.executable, "-m", "orchestrator", "worker", "-c", "1", "--agents", AGENTS, "--log-level", "error"]
        environment = {**os.environ, "ORCHESTRATOR_URL": self.server.url}
        self.worker = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        self._runs = 0

    def close(self) -> None:
        self.worker.terminate()
        self.worker.wait(30)
        self.client.close()
        self.server.release()
        # Its guard tidies the folder, which nobody may remove meanwhile.
        until(lambda: embedded.status(self.server.home).guard_pid is None, "the end of the server")

    def compile(self, name: str, steps: list[Json]) -> Plan:
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps({"name": name, "steps": steps}))
        return self.client.compile(file)

    def run(self, plan: Plan) -> tuple[float, int, int]:
        """(ms per step, steps, attempts). A run that does not succeed is an error of the bench."""
        self._runs += 1
        new = replace(plan, version=str(self._runs))
        began = time.perf_counter()
        run = self.client.submit(new)
        record = run.wait(1800)
        ms = (time.perf_counter() - began) * 1e3
        assert record.state is RunState.SUCCEEDED, record.error
        started = [event.attempt is not None for event in run.events() if event.name == "step.started"]
        return ms / len(started), len(started), sum(started)

    def memory_mib(self) -> float:
        """The resident set of the worker with all its processes."""
        table = subprocess.run(["ps", "-eo", "pid=,ppid=,rss="], capture_output=True, text=True, check=True).stdout
        rows = [tuple(map(int, line.split())) for line in table.splitlines()]
        family = {self.worker.pid}
        while found := {pid for pid, parent, _ in rows if parent in family} - family:
            family |= found
        return sum(kib for pid, _, kib in rows if pid in family) / 1024


def measure(bench: Bench, small: Plan, plan: Plan) -> dict[str, float]:
    """One round of one shape, between chains of 100."""
    before = bench.memory_mib()
    around = [bench.run(small)[0] for _ in range(SMALL_RUNS)]
    ms, steps, attempts = bench.run(plan)
    grown = bench.memory_mib() - before
    around += [bench.run(small)[0] for _ in range(SMALL_RUNS)]
    small_ms = statistics.median(around)
    ratios = {"ratio": ms / small_ms, "ratio_per_attempt": ms * steps / attempts / small_ms}
    return {"steps": steps, "attempts": attempts, "ms": ms, "small_ms": small_ms, **ratios, "grown_mib": grown}


def run(bench: Bench, wanted: list[str], rounds: int, share: float) -> tuple[dict[str, Json], float]:
    """Medians by shape, the most that memory grew with it in a round, and how much it grew from the warm-up on."""
    small = bench.compile("small", chain(SMALL))
    plans: dict[str, tuple[Plan, float]] = {}
    for name in wanted:
        _, make, size = SHAPES[name]
        steps = make(size if name == "nested" else max(100, round(size * share)))
        began = time.perf_counter()
        plans[name] = bench.compile(name, steps), time.perf_counter() - began
    for _ in range(WARM_UP):
        bench.run(small)
    before = bench.memory_mib()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in wanted}
    for at in range(rounds):
        for name, (plan, _) in plans.items():
            one = measure(bench, small, plan)
            found[name].append(one)
            told = f"{one['ms']:.2f} ms/step, {one['small_ms']:.2f} in the small chain: {one['ratio']:.2f}x"
            print(f"round {at + 1}, {name}: {told}, {one['grown_mib']:+.1f} MiB", file=sys.stderr, flush=True)
    rows = {}
    for name, of in found.items():
        middle = {what: statistics.median(one[what] for one in of) for what in of[0]}
        middle |= {"grown_mib": max(one["grown_mib"] for one in of), "compile_s": plans[name][1]}
        rows[name] = {what: round(value, 3) for what, value in middle.items()}
    return rows, round(bench.memory_mib() - before, 1)


def show(rows: dict[str, Json], grown_mib: float) -> bool:
    """Print the table; whether all bounds hold."""
    print(f"{'shape':42}{'steps':>7}{'compile s':>11}{'ms/step':>9}{'chain of 100':>14}{'ratio':>7}{'MiB':>7}")
    for name, row in rows.items():
        what = SHAPES[name][0].format(f"{SHAPES[name][2]:,}")
        print(f"{what:42}{row['steps']:7,}{row['compile_s']:11.2f}{row['ms']:9.2f}{row['small_ms']:14.2f}"
              f"{row['ratio']:7.2f}{row['grown_mib']:+7.1f}")  # fmt: skip
    print(f"memory of the worker from the warm-up to the end: {grown_mib:+.1f} MiB")
    late = [name for name, row in rows.items() if row["ratio"] > MOST_RATIO]
    fat = [name for name, row in rows.items() if row["grown_mib"] > MOST_MIB] + ["all"] * (grown_mib > MOST_MIB)
    print(f"more than {MOST_RATIO}x: {', '.join(late) or 'none'}; more than {MOST_MIB} MiB: {', '.join(fat) or 'none'}")
    return not late and not fat


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--share", type=float, default=1.0, help="of the items and steps, for a quick look")
    arguments.add_argument("--only", nargs="+", choices=SHAPES, default=list(SHAPES))
    options = arguments.parse_args()
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    print(f"{versions}, {os.cpu_count()} cores; prefork, 1 slot; server: append-only file, everysec", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            rows, grown_mib = run(bench, options.only, options.rounds, options.share)
        finally:
            bench.close()
    kept = show(rows, grown_mib)
    if options.share == 1 and len(rows) == len(SHAPES):
        results = ROOT / "benchmarks" / "results"
        results.mkdir(exist_ok=True)
        told = {"versions": versions, "rounds": options.rounds, "rows": rows, "grown_mib": grown_mib}
        (results / "scale.json").write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(not kept)


if __name__ == "__main__":
    main()
