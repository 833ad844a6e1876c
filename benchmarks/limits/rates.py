"""What a message and an idle worker cost the server. Their bounds are those of `make bench`."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.limits.bench import Bench
from benchmarks.transport_kills import until

IDLE_S = 15.0
Json = Any


def measure(messages: int, workers: int, idle_s: float = IDLE_S) -> Json:
    """Send so many messages of 200 bytes to an agent that nobody serves, then let workers handle them; then idle."""
    with Bench() as bench:
        bench.client.office.directory.register("queued")
        began = time.perf_counter()
        for _ in range(messages):
            bench.client.send("queued", "x" * 200)
        send_s = time.perf_counter() - began
        before = bench.cpu_us()
        with bench.watch("o:inbox:queued") as rate, bench.workers("queued", workers):
            until(lambda: not bench.redis.exists("o:inbox:queued"), "the inbox to be empty", timeout_s=600)
            handled_us = bench.cpu_us() - before
            idle_us, requests = bench.cpu_us(), bench.requests()
            time.sleep(idle_s)  # nothing is to happen
            idle_us, requests = bench.cpu_us() - idle_us, bench.requests() - requests
        return {
            "messages": messages, "workers": workers, "sent_per_s": round(messages / send_s),
            "handled_per_s": rate(0.0, 1.0), "server_us_per_message": round(handled_us / messages),
            "idle_requests_per_s": round(requests / idle_s / workers, 1),
            "idle_server_share": round(idle_us / 1e6 / idle_s / workers, 5),
        }  # fmt: skip
