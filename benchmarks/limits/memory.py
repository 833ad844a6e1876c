"""What the server keeps of a finished step that answered 200 bytes: by the shape of the workflow, by kind of key."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.limits.bench import Bench
from benchmarks.transport_kills import until

STEP = {"agent": "queued", "task": "go"}
MOST = 1200  # bytes a step, of runs that have five steps or more
Json = Any


def chain(length: int) -> list[Json]:
    return [{"id": f"s{at}", **STEP} for at in range(length)]


def foreach(items: int) -> list[Json]:
    return [
        {"id": "made", "agent": "queued", "task": "numbers", "with": {"count": items}},
        {"id": "each", "foreach": "${{ steps.made.output }}", "with": {"value": "${{ item }}"}, **STEP},
    ]


SHAPES: dict[str, tuple[list[Json], int]] = {  # name -> steps, attempts of a run
    "one step": (chain(1), 1),
    "five steps": (chain(5), 5),
    "a chain of 100": (chain(100), 100),
    "a foreach of 1,000": (foreach(1000), 1001),
}
KINDS = ("run", "steps", "outputs", "events", "plan", "journal", "ready", "messages")


def measure(steps: int) -> Json:
    """About so many steps of each shape. Bytes a step, as the server counts them, and by kind of key."""
    found = {}
    with Bench() as bench, bench.workers("queued"):
        for name, (made, attempts) in SHAPES.items():
            plan = bench.compile(name.replace(" ", "-").replace(",", ""), made)
            bench.client.submit(plan).wait(60)  # what is made once: the plan, the queue
            count = max(1, steps // attempts)
            idle(bench)
            before, kinds_before = bench.memory(), by_kind(bench)
            for handle in [bench.client.submit(plan) for _ in range(count)]:
                assert handle.wait(600).state == "succeeded"
            idle(bench)
            total, kinds = bench.memory() - before, by_kind(bench)
            found[name] = {
                "runs": count, "steps": count * attempts, "bytes_per_step": round(total / count / attempts),
                "bytes_per_run": round(total / count),
                "by_kind": per_step(kinds, kinds_before, count * attempts),
            }  # fmt: skip
    return found


def idle(bench: Bench) -> None:
    """Nothing runs, and the server has worked off what it does by the way."""
    until(lambda: not bench.redis.zcard("o:timers") and not bench.redis.hlen("unacked"), "the end of the work")


def by_kind(bench: Bench) -> Counter[str]:
    """Bytes of all keys, by kind."""
    found: Counter[str] = Counter()
    keys = list(bench.redis.scan_iter(count=1000))
    for at in range(0, len(keys), 500):
        page = keys[at : at + 500]
        with bench.redis.pipeline(transaction=False) as pipe:
            for key in page:
                pipe.memory_usage(key, samples=0)
            for key, size in zip(page, pipe.execute(), strict=True):
                found[kind_of(key)] += size or 0
    return found


def per_step(after: Counter[str], before: Counter[str], steps: int) -> dict[str, int]:
    """Bytes by kind, for one of so many steps."""
    return {kind: round((after[kind] - before[kind]) / steps) for kind in (*KINDS, "other")}


def kind_of(key: str) -> str:
    if key.startswith("agent."):
        return "messages"
    _, kind, *rest = key.split(":") if key.startswith("o:") else ("", "", "")
    if kind == "run":
        return rest[1] if len(rest) > 1 else "run"
    return kind if kind in KINDS else "other"


def broken(found: Json) -> list[str]:
    """What must hold, and does not. A run of one step is more run than step, and only shown."""
    return [
        f"{name}: {row['bytes_per_step']:,} B a step, at most {MOST:,}"
        for name, row in found.items()
        if name != "one step" and row["bytes_per_step"] > MOST
    ]
