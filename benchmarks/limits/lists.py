"""Long lists: runs and agents that are registered, and what it takes to look at them."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.limits.bench import Bench
from orchestrator.agents.submission import order_run
from orchestrator.metrics.formats import to_text
from orchestrator.metrics.gathering import gather
from orchestrator.store.directory import Directory
from orchestrator.store.keys import Keys
from orchestrator.workflow.catalog import AgentInfo, TaskInfo

ROUNDS = 9
RUNS_MS, AGENTS_MS = 200, 300
Json = Any


def runs(count: int) -> Json:
    """So many runs of ten workflows, every fourth one cancelled. Times in ms, medians."""
    with Bench() as bench:
        steps = [{"id": "s", "agent": "queued", "task": "go"}]
        plans = [bench.compile(f"w{number}", steps) for number in range(10)]
        for number in range(count):
            run_id, _ = bench.client.store.create_run(order_run(plans[number % 10], {}, bench.client.settings))
            if number % 4 == 0:
                bench.client.store.cancel_run(run_id)
        lists = {
            "all_ms": lambda: bench.client.runs(limit=count),
            "newest_50_ms": bench.client.runs,
            "by_status_ms": lambda: bench.client.runs(status="cancelled", limit=count),
            "by_workflow_ms": lambda: bench.client.runs(workflow="w3", limit=count),
        }
        found = {name: _median(bench.times_ms(call, ROUNDS)) for name, call in lists.items()}
        found["command_ms"] = round(bench.command_ms("runs", "--limit", str(count), "--json"))
        return {"runs": count, **found}


def agents(count: int) -> Json:
    """So many agents with a worker each. Times in ms, medians."""
    with Bench() as bench:
        directory = Directory(bench.client.store.client, Keys(), lease_ms=600_000)

        def beat(number: int) -> None:
            info = AgentInfo(f"agent{number}", ("work",), (TaskInfo("go", {}),), hears=True)
            directory.heartbeat(f"w.{number}@host{number}", [info])

        alone = bench.times_ms(lambda: beat(0), 300)
        for number in range(count):
            beat(number)
        among = bench.times_ms(lambda: beat(0), 300)
        found = {
            "list_ms": _median(bench.times_ms(directory.overview, ROUNDS)),
            "metrics_ms": _median(bench.times_ms(lambda: to_text(gather(bench.client)), ROUNDS)),
            "heartbeat_alone_ms": _median(alone), "heartbeat_ms": _median(among),
            "command_ms": round(bench.command_ms("agents", "--json")),
        }  # fmt: skip
        return {"agents": count, **found}


def _median(times: list[float]) -> float:
    return round(statistics.median(times), 2)


def broken_runs(found: Json) -> list[str]:
    slow = found["all_ms"] > RUNS_MS
    return [f"{found['runs']:,} runs are listed in {found['all_ms']:.0f} ms, at most {RUNS_MS}"] if slow else []


def broken_agents(found: Json) -> list[str]:
    slow = found["list_ms"] > AGENTS_MS
    return [f"{found['agents']:,} agents are listed in {found['list_ms']:.0f} ms, at most {AGENTS_MS}"] if slow else []
