"""A folder of a user: agents, workflows, a state folder, and the command `orchestrator` run in it as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tests.acceptance.broker import next_url
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]

TEAM = """
import time
from orchestrator import Agent, Context

echo = Agent("echo", capabilities=["talking"], concurrency=1)
slow = Agent("slow", concurrency=1)

@echo.task
def say(text: str) -> dict:
    print("handlers may print")
    return {"text": text}

@echo.task
def fail(text: str) -> dict:
    raise ValueError(text)

@slow.task
def sleep(seconds: float, ctx: Context) -> dict:
    ctx.progress(0.5, "half [bold]asleep[/bold]")
    time.sleep(seconds)
    return {}
"""

WORKFLOWS = {
    "hello.yaml": """
name: hello
inputs:
  name: {type: string, default: world}
steps:
  - {id: first, agent: echo, task: say, with: {text: "Hello"}}
  - {id: second, agent: echo, task: say, with: {text: "${{ steps.first.output.text }}, ${{ inputs.name }}!"}}
outputs:
  text: "${{ steps.second.output.text }}"
""",
    "fails.yaml": """
name: fails
steps:
  - {id: ok, agent: echo, task: say, with: {text: "fine"}}
  - {id: bad, agent: echo, task: fail, with: {text: "no [red]luck[/red]"}}
  - {id: never, agent: echo, task: say, with: {text: "x"}}
""",
    "sleep.yaml": """
name: sleep
inputs:
  seconds: {type: number, default: 60}
steps:
  - {id: nap, agent: slow, task: sleep, with: {seconds: "${{ inputs.seconds }}"}}
""",
    "broken.yaml": """
name: broken
steps:
  - {id: one, agnet: echo}
  - {id: two, agent: ecko, task: say, with: {text: "${{ steps.three.output }}"}}
""",
}


class Project:
    """One folder; every process started in it is known by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []
        self.agents = folder / "team.py"
        self.agents.write_text(TEAM)
        for name, text in WORKFLOWS.items():
            (folder / name).write_text(text)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "FLOWER_"))
        } | {
            "ORCHESTRATOR_HOME": str(folder / "state"),
            "ORCHESTRATOR_AGENTS": str(self.agents),
            "ORCHESTRATOR_LEASE_S": "3",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }
        broker_url = next_url()
        if broker_url is not None:
            self.environment["ORCHESTRATOR_BROKER_URL"] = broker_url

    def call(self, *words: str, timeout_s: float = 30, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            self.command(words), cwd=self.folder, env=self.environment | environment, timeout=timeout_s,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def json(self, *words: str, code: int = 0) -> Any:
        """The document a command prints with --json, after a look at its exit code."""
        done = self.call(*words, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def online(self) -> set[str]:
        """The agents that a worker serves now."""
        return {agent["name"] for agent in self.json("agents") if agent["presence"] == "online"}

    def start(self, *words: str, stderr: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a command that goes on. One that writes much to its standard error needs a file for that."""
        started = subprocess.Popen(
            self.command(words), cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
        self._started.append(started)
        return started

    def processes(self) -> list[str]:
        """The processes that work for this folder: commands, workers, their children, the private server."""
        listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True)
        return [line for line in listed.stdout.splitlines() if str(self.folder) in line and "<defunct>" not in line]

    def wait_until_quiet(self, *, timeout_s: float = 8) -> None:
        """Wait until nothing of this folder runs any more."""
        wait_until(lambda: not self.processes(), what=f"the end of {self.processes()}", timeout_s=timeout_s)

    def close(self) -> None:
        """Leave nothing behind, also after a test that failed."""
        for line in self.processes():
            try:
                os.kill(int(line.split()[0]), signal.SIGKILL)
            except ProcessLookupError:
                pass
        for started in self._started:
            started.communicate()

    def wait_for_step(self, run_id: str, step: str, state: str) -> None:
        """Wait until a step of a run is in a state."""
        wait_until(
            lambda: self.json("show", run_id)["steps"][step]["status"] == state,
            what=f"{step} {state}", timeout_s=15, every_s=0.1,
        )  # fmt: skip

    def command(self, words: Sequence[str]) -> list[str]:
        # The folder stands in the arguments, which every fork shares, so that `processes` finds all of them.
        marker = f"import sys; sys.argv = ['orchestrator', *sys.argv[2:]]  # {self.folder}"
        return [sys.executable, "-c", f"{marker}\nfrom orchestrator.cli.app import main; sys.exit(main())", "-", *words]
