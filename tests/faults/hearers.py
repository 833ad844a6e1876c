"""Many agents in one light process: receivers, no Celery. Run: `python -m tests.faults.hearers JSON`.

The JSON is `{"url": U, "oracle": FOLDER, "lease_s": 2, "names": [...], "dies_every": 5}`. With `dies_every` the
process kills itself on receipt of every so many broadcasts, at the first attempt.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator import Client, Settings
from orchestrator.agents.receiver import Receiver
from orchestrator.records import Delivery
from orchestrator.store.directory import boxes_of
from tests.faults.oracle import FOLDER, handler_pen


def start(
    url: str, oracle: Path, names: Sequence[str], *, lease_s: float, dies_every: int = 0
) -> subprocess.Popen[bytes]:
    """Such a process, in a session of its own."""
    told = {"url": url, "oracle": str(oracle), "names": list(names), "lease_s": lease_s, "dies_every": dies_every}
    words = [sys.executable, "-m", "tests.faults.hearers", json.dumps(told)]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)


class Hearer:
    """The handler of one agent. The key of its copy of a broadcast is `KEY-AGENT`."""

    def __init__(self, agent: str, dies_every: int) -> None:
        self._agent = agent
        self._dies_every = dies_every

    def __call__(self, delivery: Delivery, drafts: list[Any]) -> None:
        body = delivery.message.body
        where = {"step": "", "attempt": delivery.attempt, "run": None, "message": delivery.message.message_id}
        pen, key = handler_pen(), f"{body['key']}-{self._agent}"
        pen.write("start", key, **where)
        if self._dies_every and delivery.attempt == 1 and body["number"] % self._dies_every == 0:
            pen.write("fault", self._agent, kind="kill", pids=[os.getpid()])
            os.kill(os.getpid(), signal.SIGKILL)
        for what in ("effect", "end"):
            pen.write(what, key, **where)


def _main(text: str) -> None:
    told = json.loads(text)
    os.environ[FOLDER] = told["oracle"]
    client = Client(Settings(url=told["url"], lease_s=told["lease_s"], max_losses=1000))
    for name in told["names"]:
        client.office.directory.register(name)
        Receiver(client.office, name, boxes_of(name)).run(Hearer(name, told["dies_every"]))
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    _main(sys.argv[1])
