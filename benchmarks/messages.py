"""How long from sending a message until its handler starts, here and in bare Celery, at idle, on one server in turn.

Run: python -m benchmarks.messages [--messages 500] [--rounds 5]. Prints p50 and p99 of both and writes
benchmarks/results/messages.json. Each message is sent when the one before is done and a pause is over, by turns to ours
and to bare Celery. The clock is `time.monotonic`, one for all processes of a machine: it is read before `client.send`
or `delay`, and as the first thing in the handler, which then puts its reading into a list that the sender waits on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks.chain import PACKAGES, ROOT, Bench
from benchmarks.transport_kills import until

SIZE_BYTES = 200
PAUSE_S = (0.002, 0.012)  # uniform, so that no worker's own rhythm shows
WARM_UP = 50
Send = Callable[[str], object]


def measure(bench: Bench, send: Send, chance: random.Random) -> float:
    """Milliseconds from before the sending until the handler starts."""
    text = uuid.uuid4().hex.ljust(SIZE_BYTES, "x")
    sent_s = time.monotonic()
    send(text)
    noted = bench.watch.blpop([text], timeout=60)
    if noted is None:
        raise TimeoutError(f"no handler within 60 s: {send}")
    time.sleep(chance.uniform(*PAUSE_S))
    return (float(noted[1]) - sent_s) * 1e3


def figures(times_ms: list[float]) -> dict[str, float]:
    """p50 and p99 of one round."""
    cuts = statistics.quantiles(times_ms, n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p99_ms": cuts[98]}


def run(bench: Bench, messages: int, rounds: int) -> tuple[dict[str, dict[str, float]], float]:
    """p50 and p99 of each side, and the ratio of the p50: medians over the rounds."""
    from benchmarks.bare import note  # reads the environment that the bench has set

    until(lambda: any(agent["presence"] == "online" for agent in bench.client.agents()), "a worker of ours")
    sides: dict[str, Send] = {"ours": lambda text: bench.client.send("noop", text), "bare": note.delay}
    chance = random.Random(1)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for send in sides.values():
        for _ in range(WARM_UP):
            measure(bench, send, chance)
    ratios = []
    for at in range(rounds):
        times_ms: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(messages):  # message by message, so that what else the machine does hits both sides
            for name in times_ms:
                times_ms[name].append(measure(bench, sides[name], chance))
        for name in found:
            found[name].append(figures(times_ms[name]))
        ratios.append(found["ours"][-1]["p50_ms"] / found["bare"][-1]["p50_ms"])
        told = ", ".join(f"{name} {of[-1]['p50_ms']:.2f}/{of[-1]['p99_ms']:.2f} ms" for name, of in found.items())
        print(f"round {at + 1}, p50/p99: {told}, p50 {ratios[-1]:.2f}x", flush=True)
    medians = {
        name: {what: round(statistics.median(one[what] for one in of), 3) for what in ("p50_ms", "p99_ms")}
        for name, of in found.items()
    }
    return medians, round(statistics.median(ratios), 3)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--messages", type=int, default=500, help="in a round, to each side")
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    print(f"{versions}, {os.cpu_count()} cores; prefork, 2 slots each; server: append-only file, everysec")
    print(f"{options.rounds} rounds of {options.messages} messages of {SIZE_BYTES} bytes, one at a time", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            sides, ratio = run(bench, options.messages, options.rounds)
        finally:
            bench.close()
    for name, of in sides.items():
        print(f"{name}  p50 {of['p50_ms']:.2f} ms  p99 {of['p99_ms']:.2f} ms")
    print(f"p50 ours to bare: {ratio:.2f}x")
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    found = {"versions": versions, **vars(options), "size_bytes": SIZE_BYTES, **sides, "p50_ratio": ratio}
    (results / "messages.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
