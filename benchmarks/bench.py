"""The orchestrator beside bare Celery, Huey, DBOS and LangGraph: the same work on the same server, in turn.

Run: python -m benchmarks.bench [--only WORKLOAD ...] [--systems ours bare ...] [--rounds 3] [--quick]. Prints figures
as they come, then the tables. A run of all systems that is not quick is written to benchmarks/results/bench.json, from
which benchmarks/report.py makes the tables in benchmarks/README.md; with --only, the other workloads there stay.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.sides import SYSTEMS, LeftOut, Place, Side, place, python_of
from benchmarks.workloads import Case, Figures, Workload, workloads

Json = Any
MANY = 100  # requests in a round from which a p99 says something


class Session:
    """One workload on one server.

    `found` is case -> `{what, systems: {system: {rounds: [figures]} or {left_out: why}}}`.
    """

    def __init__(self, workload: Workload, where: Place) -> None:
        self._workload, self._where = workload, where
        self.found: dict[str, Json] = {case.name: {"what": case.what, "systems": {}} for case in workload.cases}
        for side in where.sides:
            self._start(side)

    def measure(self, rounds: int) -> None:
        self._round(self._workload.cases[0], self._workload.warm_up)
        for at in range(rounds):
            for case in self._workload.cases:
                for name, figures in self._round(case, case.count).items():
                    systems = self.found[case.name]["systems"]
                    systems.setdefault(name, {"rounds": []})["rounds"].append(figures)
                    told = "  ".join(f"{what} {value:,.2f}" for what, value in figures.items())
                    say(f"  {case.name:10}{name:10}round {at + 1}: {told}")
        for side in self._where.sides:
            side.ask("stop")

    def _start(self, side: Side) -> None:
        for case in self._workload.cases:
            if side.name in case.left_out:
                self._leave_out(case, side, case.left_out[side.name])
        try:
            if self._workload.agents:
                side.ask("start", agents=self._workload.agents)
        except LeftOut as error:
            for case in self._workload.cases:
                self._leave_out(case, side, str(error))

    def _leave_out(self, case: Case, side: Side, why: str) -> None:
        self.found[case.name]["systems"][side.name] = {"left_out": why}
        say(f"  {case.name:10}{side.name:10}left out: {why}")

    def _round(self, case: Case, count: int) -> dict[str, Figures]:
        """So many requests of a case, to each side in turn; side -> figures."""
        systems = self.found[case.name]["systems"]
        taken: dict[str, list[Figures]] = {}
        for at in range(count):
            for side in self._where.sides:
                if at < case.few.get(side.name, count) and "left_out" not in systems.get(side.name, {}):
                    self._where.settle()
                    try:
                        taken.setdefault(side.name, []).append(case.request(self._where, side))
                    except LeftOut as error:
                        self._leave_out(case, side, str(error))
                        taken.pop(side.name, None)
        return {name: summary(requests) for name, requests in taken.items()}


def summary(requests: Sequence[Figures]) -> Figures:
    """The median of each figure, and the 99th percentile of many times."""
    found = {what: statistics.median(one[what] for one in requests) for what in requests[0]}
    if len(requests) >= MANY:
        found["p99_ms"] = statistics.quantiles((one["ms"] for one in requests), n=100, method="inclusive")[98]
    return {what: round(value, 4) for what, value in found.items()}


def say(line: str) -> None:
    print(line, flush=True)


def parse() -> argparse.Namespace:
    names = [workload.name for workload in workloads(quick=False)]
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", nargs="+", choices=names, default=names, metavar="WORKLOAD", help=", ".join(names))
    arguments.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    arguments.add_argument("--rounds", type=int)
    arguments.add_argument("--quick", action="store_true", help="one round and fewer requests; nothing is written")
    options = arguments.parse_args()
    missing = [name for name in options.systems if not Path(python_of(name)).exists()]
    if missing:
        arguments.error(f"not installed: {', '.join(missing)}; `make bench` does that, `--systems` leaves them out")
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def main() -> None:
    options, began, load = parse(), time.monotonic(), os.getloadavg()[0]
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    document: Json = {
        "machine": f"{os.cpu_count()} cores, {system}",
        "settings": "server: append-only file, everysec, unix socket; two slots on each side, prefork",
        "versions": {},
        "cases": {},
    }
    say(f"{document['machine']}; {document['settings']}; {options.rounds} rounds, load {load:.1f}")
    for workload in workloads(options.quick):
        if workload.name in options.only:
            say(f"{workload.name}, {time.monotonic() - began:.0f} s")
            with place(options.systems) as where:
                session = Session(workload, where)
                session.measure(options.rounds)
                document["versions"] |= {side.name: side.versions for side in where.sides}
            when = {"date": time.strftime("%Y-%m-%d"), "rounds": options.rounds, "load": round(load, 1)}
            for name, case in session.found.items():
                document["cases"][f"{workload.name}/{name}"] = when | case
    say(report.tables(document, unmeasured=False))
    if not options.quick and options.systems == list(SYSTEMS):
        report.write(document)
    say(f"{time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
