"""The orchestrator, as a user drives it: workflow files, compiled once, submitted with the client in a loop.

One Celery worker for each agent (prefork, two slots in all), the guarantees all on. The submitter waits with
`run.wait()`; where it waits for a thousand runs, it looks at the list that their last steps write to.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.sides import PACKAGES
from benchmarks.systems.driver import PATIENCE_S, Answer, Driver, Submit
from benchmarks.systems.protocol import FOLDER, SLOTS, serve
from orchestrator import Client, RunHandle, RunState, Settings
from orchestrator.workflow.plan import Plan

AGENTS = str(Path(__file__).with_name("ours_agents.py"))
Json = Any


class Ours(Driver):
    def __init__(self) -> None:
        super().__init__()
        self.client = Client(Settings.load(), agents=[AGENTS])
        self._plan = cache(self._compile)

    def command(self, agents: Sequence[str]) -> list[str]:
        slots = str(SLOTS // len(agents))
        return [sys.executable, "-m", "orchestrator", "worker", *agents, "-c", slots, "--agents", AGENTS,
                "--log-level", "error"]  # fmt: skip

    def make_sequence(self, steps: int, agents: Sequence[str]) -> Submit:
        return partial(self.client.submit, self._plan("sequence", steps, *agents))

    def submit_many(self, workflows: int, steps: int, agents: Sequence[str]) -> Answer:
        plan = self._plan("sequence", steps, *agents)
        began = time.monotonic()
        self.client.submit_many(plan, [{}] * workflows)
        return {"s": time.monotonic() - began}

    def make_payload(self, steps: int) -> Submit:
        return partial(self.client.submit, self._plan("payload", steps))

    def make_fan(self, width: int, form: str) -> Submit:
        return partial(self.client.submit, self._plan(form, width))

    def wait(self, submitted: RunHandle) -> None:
        submitted.wait(PATIENCE_S)
        self.server.delete(self.ended)

    def check(self, submitted: Sequence[RunHandle]) -> None:
        for run in submitted:
            record = run.wait(PATIENCE_S)
            assert record.state is RunState.SUCCEEDED, record.error

    def send(self, text: str, urgent: bool = False) -> None:
        self.client.send("solo", text, priority="emergency" if urgent else "medium")

    def _compile(self, form: str, size: int, *agents: str) -> Plan:
        file = FOLDER / f"{form}-{size}-{len(agents)}.yaml"
        steps = getattr(self, f"_{form}")(size, *agents)
        file.write_text(json.dumps({"name": form, "steps": steps}))  # JSON is YAML
        return self.client.compile(file)

    def _last(self, agent: str) -> Json:
        return {"id": "last", "agent": agent, "task": "last", "with": {"key": self.ended}}

    def _sequence(self, size: int, *agents: str) -> list[Json]:
        turns = [agents[at % len(agents)] for at in range(size)]
        steps = [{"id": f"s{at}", "agent": agent, "task": "go"} for at, agent in enumerate(turns[:-1])]
        return [*steps, self._last(turns[-1])]

    def _payload(self, size: int) -> list[Json]:
        steps = [{"id": f"s{at}", "agent": "solo", "task": "add"} for at in range(size)]
        values = {"pieces": [f"${{{{ steps.s{at}.output }}}}" for at in range(size)], "key": self.ended}
        return [*steps, {"id": "last", "agent": "solo", "task": "read", "with": values}]

    def _foreach(self, size: int) -> list[Json]:
        return [{"id": "each", "foreach": list(range(size)), "agent": "solo", "task": "go"}, self._last("solo")]

    def _parallel(self, size: int) -> list[Json]:
        steps = [{"id": f"s{at}", "agent": "solo", "task": "go"} for at in range(size)]
        return [{"parallel": steps}, self._last("solo")]


if __name__ == "__main__":
    serve(Ours(), *PACKAGES)
