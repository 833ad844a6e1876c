"""What steps, messages and idle workers cost the server. Their bounds are those of `make bench`."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.limits.bench import Bench
from benchmarks.limits.memory import chain
from benchmarks.transport_kills import until

IDLE_S = 15.0
Json = Any


def steps(count: int, workers: int, *, apart: bool) -> Json:
    """About so many steps in runs of five. With `apart`, the broker is a server of its own."""
    with Bench(apart=apart) as bench, bench.workers("queued", workers):
        plan = bench.compile("five", chain(5))
        bench.client.submit(plan).wait(60)
        servers = range(len(bench.servers))
        before, began = [bench.cpu_us(at) for at in servers], time.perf_counter()
        for handle in [bench.client.submit(plan) for _ in range(count // 5)]:
            handle.wait(600)
        took_s = time.perf_counter() - began
        spent = [round((bench.cpu_us(at) - us) / count) for at, us in zip(servers, before, strict=True)]
        return {"steps": count, "steps_per_s": round(count / took_s), "server_us_per_step": spent}


def messages(count: int, workers: int) -> Json:
    """Send so many messages of 200 bytes to an agent that nobody serves, then let workers handle them."""
    with Bench() as bench:
        bench.client.office.directory.register("queued")
        began = time.perf_counter()
        for _ in range(count):
            bench.client.send("queued", "x" * 200)
        send_s, before = time.perf_counter() - began, bench.cpu_us()
        with bench.watch("o:inbox:queued") as rate, bench.workers("queued", workers):
            until(lambda: not bench.redis.exists("o:inbox:queued"), "the inbox to be empty", timeout_s=600)
            handled_us = bench.cpu_us() - before
        return {
            "messages": count, "workers": workers, "sent_per_s": round(count / send_s),
            "handled_per_s": rate(0.0, 1.0), "server_us_per_message": round(handled_us / count),
        }  # fmt: skip


def idle(workers: int, for_s: float = IDLE_S) -> Json:
    """Workers that have nothing to do."""
    with Bench() as bench, bench.workers("bystander", workers):
        spent_us, requests = bench.cpu_us(), bench.requests()
        time.sleep(for_s)  # nothing is to happen
        spent_us, requests = bench.cpu_us() - spent_us, bench.requests() - requests
        return {
            "workers": workers, "requests_per_s": round(requests / for_s / workers, 1),
            "server_share": round(spent_us / 1e6 / for_s / workers, 5),
        }  # fmt: skip
