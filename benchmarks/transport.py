"""What a message costs on kombu's transport and on ours: time, latency, client commands, bytes, time of the server.

Run: python -m benchmarks.transport [--rounds 5] [--messages 1500]. Prints JSON. The two sides take turns, each round on
a server of its own with one worker (prefork, two slots); the figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import kombu
import redis

from benchmarks.transport_kills import QUEUE, ROOT, make_app, start_worker, until
from orchestrator.store import embedded

LOOKS = 60  # single messages sent to an idle worker
IDLE_S = 6.0
# What the clients send; everything else that commandstats counts happens inside the scripts or belongs to the task.
SENT = {
    "stock": {"brpop", "multi", "exec", "zadd", "hset", "zrem", "hdel", "lpush"},
    "ours": {"fcall", "blpop"},
}


def measure(transport: str, messages: int) -> dict[str, float]:
    """One round of one side."""
    with tempfile.TemporaryDirectory() as folder, embedded.acquire(Path(folder) / "home") as server:
        client = redis.Redis(unix_socket_path=str(server.socket_path), decode_responses=True)
        app = make_app(server.url, transport)

        def publish(count: int) -> float:
            began = time.perf_counter()
            for number in range(count):
                app.send_task("mark", (str(number),), queue=QUEUE, priority=6)
            return (time.perf_counter() - began) / count * 1e3

        publish_ms = publish(messages)
        before = snapshot(client, transport)
        worker = start_worker(server.url, transport, "-Q", QUEUE, "-c", "2")
        try:
            until(lambda: client.llen("done") >= 100, "the worker is up")
            began, first = time.perf_counter(), client.llen("done")
            until(lambda: client.llen("done") >= messages, "all is done")
            consume_ms = (time.perf_counter() - began) / (messages - first) * 1e3
            busy = {name: (value - before[name]) / messages for name, value in snapshot(client, transport).items()}
            latencies = [latency_ms(client, publish) for _ in range(LOOKS)]
            time.sleep(1)
            before = snapshot(client, transport)
            time.sleep(IDLE_S)
            idle = (snapshot(client, transport)["commands"] - before["commands"]) / IDLE_S
        finally:
            worker.kill()
            worker.wait()
    return {
        "publish_ms": publish_ms,
        "consume_ms": consume_ms,
        **{f"consume_{name}": value for name, value in busy.items()},
        "idle_p50_ms": statistics.median(latencies),
        "idle_max_ms": max(latencies),
        "idle_commands_per_s": idle,
    }


def latency_ms(client: redis.Redis, publish: Any) -> float:
    """From before the publish until the mark of the task is there; the worker waits when it begins."""
    client.delete("done")
    until(lambda: any(found["cmd"] in ("brpop", "blpop") for found in client.client_list()), "the worker waits")
    began = time.perf_counter()
    publish(1)
    client.blpop(["done"], timeout=10)
    return (time.perf_counter() - began) * 1e3


def snapshot(client: redis.Redis, transport: str) -> dict[str, float]:
    info = client.info("everything")
    return {
        "commands": sum(info.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in SENT[transport]),
        "bytes_to_server": info["total_net_input_bytes"],
        "bytes_from_server": info["total_net_output_bytes"],
        "server_ms": (info["used_cpu_user"] + info["used_cpu_sys"]) * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=1500)
    parser.add_argument("--transport", choices=["stock", "ours"])
    arguments = parser.parse_args()
    if arguments.transport:
        print(json.dumps(measure(arguments.transport, arguments.messages)))
        return
    command = [sys.executable, "-m", "benchmarks.transport", "--messages", str(arguments.messages), "--transport"]
    rounds: dict[str, list[dict[str, float]]] = {"stock": [], "ours": []}
    for _ in range(arguments.rounds):
        for transport, found in rounds.items():
            found.append(json.loads(subprocess.check_output([*command, transport], cwd=ROOT)))
    names = rounds["ours"][0]
    medians = {
        transport: {name: round(statistics.median(one[name] for one in found), 3) for name in names}
        for transport, found in rounds.items()
    }
    versions = {"kombu": kombu.__version__, "redis-py": redis.__version__, "python": sys.version.split()[0]}
    json.dump({"versions": versions, "rounds": arguments.rounds, "medians": medians}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
