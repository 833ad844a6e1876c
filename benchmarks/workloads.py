"""What is measured: the workloads, each with its cases, and one request of each case.

A request is made of each system in turn, again and again; a round's figure is the median of its requests. `ms` is time
for one unit of the work, which a case names: a step, a workflow, a message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.sides import ON_SERVER, LeftOut, Place, Side, processor_s

ONE, TWO = ["solo"], ["a", "b"]
PIECES, PIECE_BYTES = 100, 10_000
SETTLE_S = 5.0  # after the start of a worker, until it counts as idle
Figures = dict[str, float]
Request = Callable[[Place, Side], Figures]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Args:
        name: in the JSON, after the name of the workload.
        what: for people, with its unit.
        count: how many requests make a round.
        left_out: system -> why it is not asked.
        few: system -> how many requests it gets at most, because one takes long.
    """

    name: str
    what: str
    request: Request
    count: int = 1
    left_out: Mapping[str, str] = field(default_factory=dict)
    few: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    """Cases that are measured in one session: on one server, with the same workers.

    Args:
        agents: whose workers are up all the time; None: no worker is, unless the request starts one.
        warm_up: requests of the first case that do not count; the workers have run 100 steps before.
    """

    name: str
    agents: list[str] | None
    cases: tuple[Case, ...]
    warm_up: int = 0


def ask(do: str, units: int = 1, **arguments: Any) -> Request:
    """A request that the driver times, and the bytes that the server has seen meanwhile, for one unit of the work.

    A driver that has done less than it was asked for says how much.
    """

    def request(place: Place, side: Side) -> Figures:
        received, sent = place.traffic()
        answer = side.ask(do, **arguments)
        received_then, sent_then = place.traffic()
        done = answer.get("units", units)
        figures = {"ms": answer["s"] * 1e3 / done}
        if side.name in ON_SERVER:
            sent_bytes = (received_then - received) / done
            figures |= {"sent_bytes": sent_bytes, "both_bytes": sent_bytes + (sent_then - sent) / done}
        return figures | ({"urgent_ms": answer["urgent_s"] * 1e3} if "urgent_s" in answer else {})

    return request


def idle(seconds: float) -> Request:
    """Commands for each second, and the share of one core, of a worker with nothing to do and nobody beside it."""

    def request(place: Place, side: Side) -> Figures:
        pid = side.ask("start", agents=ONE).get("pid")
        if pid is None:
            raise LeftOut("it has no worker of its own")
        time.sleep(SETTLE_S)
        commands, used_s, began_s = place.commands(), processor_s(pid), time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - began_s
        used_s, commands = processor_s(pid) - used_s, place.commands() - commands - 1  # the one that asks
        side.ask("stop")
        return {"commands_per_s": commands / took_s, "cpu_percent": 100 * used_s / took_s}

    return request


def start(place: Place, side: Side) -> Figures:
    """From the command that starts a worker until it handles a message that was there before."""
    return {"ms": side.ask("launch")["s"] * 1e3}


def chain(agents: list[str], quick: bool) -> tuple[Case, ...]:
    """Sequences from 10 to 3,000 steps."""
    known = {"bare": "minutes: the whole chain is in each message, so that it costs nine times what 1,000 steps cost"}

    def case(steps: int, count: int, **left_out: str) -> Case:
        request = ask("sequence", steps, steps=steps, agents=agents)
        return Case(f"{steps}", f"{steps:,} steps: ms/step", request, count, left_out)

    return case(10, 10 if quick else 30), case(100, 1 if quick else 3), case(1000, 1), case(3000, 1, **known)


def workloads(quick: bool) -> list[Workload]:
    """All of them, in the order of the table."""
    five = {"workflows": 1000, "steps": 5}
    found = []
    for name, agents in (("two-agents", TWO), ("one-agent", ONE)):
        found.append(Workload(f"chain-{name}", agents, chain(agents, quick), warm_up=5))
    request = ask("payload", steps=PIECES)
    found.append(Workload("payload", ONE, (Case("100", "100 steps that add 10 KB each: ms", request),)))
    same = dict.fromkeys(("bare", "huey", "dbos", "langgraph"), "has one form of it, the line above")
    fans = (
        Case("foreach", "1,000 at once and a join: ms/step", ask("fan", 1000, width=1000, form="foreach")),
        Case("parallel", "the same as 1,000 parallel steps: ms/step",
             ask("fan", 1000, width=1000, form="parallel"), left_out=same),
    )  # fmt: skip
    found.append(Workload("fan", ONE, fans))
    for name, agents in (("two-agents", TWO), ("one-agent", ONE)):
        request = ask("throughput", 5000, **five, agents=agents)
        found.append(Workload(f"throughput-{name}", agents, (Case("1000", "1,000 five-step workflows", request),)))
    alone = dict.fromkeys(("huey", "dbos", "langgraph"), "has nothing faster than the line above")
    submits = (
        Case("5", "submit of a five-step workflow: ms", ask("submit", 1000, **five, agents=ONE)),
        Case("many", "1,000 of them at hand: ms each", ask("submit_many", 1000, **five, agents=ONE),
             left_out=alone),
    )  # fmt: skip
    found.append(Workload("submit", None, submits))
    messages = Case("idle", "a message to an idle agent: ms", ask("message"), count=150 if quick else 500,
                    few={"dbos": 3 if quick else 10})  # fmt: skip
    found.append(Workload("message", ONE, (messages,), warm_up=50))
    backlog = ask("backlog", 5000, messages=5000, work_ms=1, urgent_every_s=0.1)
    plain = ask("backlog", 5000, messages=5000, work_ms=0)
    handled = Case("handled", "5,000 messages worked off: ms each", plain)
    emergency = Case("emergency", "an emergency behind 5,000 of 1 ms: ms", backlog)
    found.append(Workload("backlog", ONE, (handled, emergency)))
    found.append(Workload("idle", None, (Case("20", "one idle worker", idle(10 if quick else 20)),)))
    found.append(Workload("start", ONE, (Case("2", "start of a worker: ms", start, count=2),), warm_up=1))
    return found
