"""A long queue: steps that wait for an agent which nobody serves yet, then workers that work it off."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.limits.bench import Bench
from benchmarks.limits.memory import by_kind, per_step
from benchmarks.transport_kills import until
from orchestrator.states import RunState

HOLD_S = 20.0  # how long the full queue stands under the eyes of a keeper: ten of its looks for what is lost
AGAIN = "seems lost"  # what a keeper's log says of a message that it sends again
Json = Any


def measure(runs: int, items: int, workers: int, hold_s: float = HOLD_S) -> Json:
    """Queue `runs` runs with a foreach of `items` each, hold them, work them off."""
    total = runs * items
    with Bench() as bench:
        each = {"foreach": list(range(items)), "with": {"value": "${{ item }}"}}
        plan = bench.compile("wide", [{"id": "each", "agent": "queued", "task": "go", **each}])
        with bench.workers("bystander"):
            kinds_before = by_kind(bench)
            before, began = bench.memory(), time.perf_counter()
            handles = [bench.client.submit(plan) for _ in range(runs)]
            queue_s = time.perf_counter() - began
            grown = bench.memory() - before
            kinds = per_step(by_kind(bench), kinds_before, total)
            steps, messages = waiting(bench)
            time.sleep(hold_s)  # not a wait for something: nothing is to happen
            held = waiting(bench)
        with bench.watch("o:ready") as rate, bench.workers("queued", workers):
            began, cpu_us = time.perf_counter(), bench.cpu_us()
            until(lambda: not bench.redis.zcard("o:ready"), "the queue to be empty", timeout_s=3600)
            for handle in handles:
                handle.wait(60)
            drain_s, cpu_us = time.perf_counter() - began, bench.cpu_us() - cpu_us
        ended = bench.client.runs(limit=runs)
        attempts = [step.attempts for handle in handles for step in bench.client.store.read_steps(handle.id).values()]
        log = bench.log.read_text()
        return {
            "runs": runs, "steps": total, "workers": workers,
            "queue_s": round(queue_s, 1), "queue_steps_per_s": round(total / queue_s),
            "bytes_per_queued_step": round(grown / total), "by_kind": kinds,
            "queued": steps, "messages": messages, "held_s": hold_s, "messages_after": held[1],
            "drain_s": round(drain_s, 1), "drain_steps_per_s": round(total / drain_s),
            "server_us_per_step": round(cpu_us / total),
            "first_quarter_steps_per_s": rate(0.0, 0.25), "last_quarter_steps_per_s": rate(0.75, 1.0),
            "succeeded": sum(run.state is RunState.SUCCEEDED for run in ended),
            "attempts": sum(attempts), "sent_again": log.count(AGAIN),
        }  # fmt: skip


def waiting(bench: Bench) -> tuple[int, int]:
    """Steps that the store holds ready, and messages that the broker holds for them."""
    names = [name for name in bench.redis.scan_iter("agent.queued*", count=1000) if bench.redis.type(name) == "list"]
    return int(bench.redis.zcard("o:ready")), sum(int(bench.redis.llen(name)) for name in names if "wake" not in name)


def broken(found: Json) -> list[str]:
    """What must hold, and does not."""
    checks = {
        "every step is ready": found["queued"] == found["steps"],
        "every step has one message": found["messages"] == found["steps"],
        "a queue that stands gets no more messages": found["messages_after"] == found["messages"],
        "every run succeeds": found["succeeded"] == found["runs"],
        # The foreach is a step besides, without attempts of its own.
        "every step has one attempt": found["attempts"] == found["steps"],
        "nothing is sent twice": found["sent_again"] == 0,
    }
    return [name for name, holds in checks.items() if not holds]
