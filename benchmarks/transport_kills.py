"""How many messages do SIGKILLs of a busy worker lose, with kombu's transport and with ours?

Run: python -m benchmarks.transport_kills [--kills 200]. Prints JSON, and writes benchmarks/results/. Each side has a
server of its own; a message is lost if it was published, its task left no mark, and it is neither in its queue nor in
`unacked`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import kombu
import redis
from kombu.transport.redis import Channel

from orchestrator.store import embedded

QUEUE, PRIORITY = "load", 6
SEPARATOR = Channel.sep  # between the name of a queue and its priority in a key
ROOT = Path(__file__).parents[1]
BACKLOG = 300  # messages that wait at most


def start_worker(url: str, transport: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A Celery worker of benchmarks.transport_app in a process of its own."""
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.transport_app", "worker", "-l", "error", *arguments]
    quiet = {"PYTHONWARNINGS": "ignore", "BROKER": url, "TRANSPORT": transport, "PYTHONPATH": str(ROOT)}
    lonely = ["--without-gossip", "--without-mingle"]
    return subprocess.Popen([*command, *lonely], cwd=ROOT, env={**os.environ, **quiet}, stdout=subprocess.DEVNULL)


class Publisher(threading.Thread):
    """Publishes as fast as the worker takes, through the transport under test."""

    def __init__(self, app: Any, client: redis.Redis) -> None:
        super().__init__(daemon=True)
        self.app, self.client = app, client
        self.published = 0
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            if self.client.llen(f"{QUEUE}{SEPARATOR}{PRIORITY}") > BACKLOG:
                time.sleep(0.01)
                continue
            name = str(self.published)
            self.app.send_task("mark", (name,), task_id=name, queue=QUEUE, priority=PRIORITY)
            self.published += 1


def make_app(url: str, transport: str) -> Any:
    """The app of the worker, in this process; it reads the environment once, so one process can test one transport."""
    os.environ |= {"BROKER": url, "TRANSPORT": transport}
    return import_module("benchmarks.transport_app").app


def run(transport: str, kills: int, seed: int = 1) -> dict[str, Any]:
    """Kill a busy worker again and again, then count what is where."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with embedded.acquire(home) as server:
            found = kill_again_and_again(server, transport, kills, random.Random(seed))
        # The server's guard tidies the folder, which nobody may remove meanwhile.
        until(lambda: embedded.status(home).guard_pid is None, "the end of the server")
        return found


def kill_again_and_again(
    server: embedded.EmbeddedServer, transport: str, kills: int, chance: random.Random
) -> dict[str, Any]:
    """What `run` does, on a server that is there."""
    client = redis.Redis(unix_socket_path=str(server.socket_path), decode_responses=True)
    publisher = Publisher(make_app(server.url, transport), client)
    publisher.start()
    for _ in range(kills):
        worker = start_worker(server.url, transport, "-Q", QUEUE, "-c", "2")
        try:
            wanted = client.llen("done") + 20
            until(partial(has_done, client, wanted), "the worker is busy")
            time.sleep(chance.uniform(0, 0.1))
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
    publisher.stop.set()
    publisher.join()
    return {"transport": transport, "kills": kills, **count(client, publisher.published)}


def count(client: redis.Redis, published: int) -> dict[str, Any]:
    """Where the messages are; the names of those that are nowhere."""
    done = set(client.lrange("done", 0, -1))
    messages = client.lrange(f"{QUEUE}{SEPARATOR}{PRIORITY}", 0, -1)
    queued = {json.loads(message)["headers"]["id"] for message in messages}
    unacked = {json.loads(noted)[0]["headers"]["id"] for noted in client.hvals("unacked")}
    lost = {str(number) for number in range(published)} - done - queued - unacked
    figures = {"published": published, "done": len(done), "queued": len(queued), "unacked": len(unacked - done)}
    return {**figures, "lost": len(lost), "lost_names": sorted(lost, key=int)}


def has_done(client: redis.Redis, wanted: int) -> bool:
    return client.llen("done") >= wanted


def until(predicate: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--transport", choices=["stock", "ours", "both"], default="both")
    arguments = parser.parse_args()
    if arguments.transport != "both":
        print(json.dumps(run(arguments.transport, arguments.kills)))
        return
    command = [sys.executable, "-m", "benchmarks.transport_kills", "--kills", str(arguments.kills), "--transport"]
    outputs = [subprocess.check_output([*command, transport], cwd=ROOT) for transport in ("stock", "ours")]
    versions = {"kombu": kombu.__version__, "redis-py": redis.__version__, "python": sys.version.split()[0]}
    document = {"versions": versions, "results": [json.loads(text) for text in outputs]}
    (ROOT / "benchmarks" / "results" / "transport_kills.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
