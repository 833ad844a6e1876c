"""A state folder with its own server, worker processes of the test's agents, and a client of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any

import redis

from orchestrator import Client, RunHandle, Settings, StepState
from orchestrator.store import embedded
from orchestrator.store.connection import connect, leave
from tests.acceptance.agents import JOURNAL
from tests.acceptance.broker import next_url
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
AGENTS = Path(__file__).with_name("agents.py")
SECRET = "correct-horse-battery-staple"


class Team:
    """Everything it starts ends with `close`.

    Args:
        url: a server that is there; None: the embedded one of the folder.
        agents: the file of those it has.
        options: settings that differ from the defaults.
    """

    def __init__(self, folder: Path, *, url: str | None = None, agents: Path = AGENTS, **options: Any) -> None:
        self.folder = folder
        options.setdefault("broker_url", next_url())
        self.home = folder / "state"
        self.journal_file = folder / "journal"
        self.settings = Settings(home=self.home, url=url, agents=(str(agents),), **options)
        self.client = Client(self.settings)
        self.workers: list[subprocess.Popen[bytes]] = []
        self._names = count()
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "CELERY_"))
        } | {
            "ORCHESTRATOR_HOME": str(self.home),
            "ORCHESTRATOR_AGENTS": str(agents),
            "ORCHESTRATOR_SECRET_DOOR": SECRET,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            JOURNAL: str(self.journal_file),
            **({"ORCHESTRATOR_URL": url} if url else {}),
            **{f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in options.items() if value is not None},
        }

    # --- workers -------------------------------------------------------------------------------------------------

    def start_worker(self, *agents: str, concurrency: int | None = None, pool: str = "prefork") -> int:
        """Start `orchestrator worker` and wait until each agent has one worker more. Returns its process id."""
        before = self.online()
        words = [sys.executable, "-m", "orchestrator", "worker", *agents, "--pool", pool]
        words += ["-c", str(concurrency)] if concurrency else []
        with (self.folder / "workers.log").open("ab") as log:
            started = subprocess.Popen(
                words, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.workers.append(started)
        wait_until(
            lambda: all(set(self.online().get(agent, [])) - set(before.get(agent, [])) for agent in agents),
            what=f"workers of {', '.join(agents)}", timeout_s=30,
        )  # fmt: skip
        return started.pid

    def online(self) -> dict[str, list[str]]:
        """agent -> names of the workers that serve it."""
        return {agent["name"]: agent["workers"] for agent in self.client.agents()}

    def kill_worker(self, pid: int) -> None:
        """kill -9 of one that `start_worker` started; all its processes end with it."""
        worker = next(worker for worker in self.workers if worker.pid == pid)
        self.workers.remove(worker)
        worker.kill()
        worker.wait(10)

    @property
    def log(self) -> str:
        """What all workers have written so far."""
        return (self.folder / "workers.log").read_text()

    # --- runs ----------------------------------------------------------------------------------------------------

    def submit(self, text: str, inputs: dict[str, Any] | None = None, **options: Any) -> RunHandle:
        """Submit a workflow given as text; `name:` is put before it."""
        return self.client.submit(self.write(text), inputs, **options)

    def run(self, text: str, inputs: dict[str, Any] | None = None, *, timeout_s: float = 30) -> RunHandle:
        """Submit a workflow and wait for its end, whatever that is."""
        run = self.submit(text, inputs)
        run.wait(timeout_s)
        return run

    def write(self, text: str) -> Path:
        """A workflow file."""
        file = self.folder / f"workflow-{next(self._names)}.yaml"
        file.write_text("name: test\n" + dedent(text))
        return file

    def new_file(self) -> Path:
        """The path of a file that is not there yet; `touch` lets go who waits for it in `hold`."""
        return self.folder / f"file-{next(self._names)}"

    def new_folder(self) -> Path:
        made = self.folder / f"folder-{next(self._names)}"
        made.mkdir()
        return made

    def journal(self, run: RunHandle, step: str | None = None, what: str = "start") -> list[dict[str, Any]]:
        """What handlers noted, in order."""
        lines = self.journal_file.read_text().splitlines() if self.journal_file.exists() else []
        notes = [json.loads(line) for line in lines]
        return [
            note for note in notes
            if note["run"] == run.id and note["what"] == what and step in (None, note["step"])
        ]  # fmt: skip

    def heard(self, *texts: str) -> list[dict[str, Any]]:
        """What message handlers noted about messages of these texts, in order."""
        lines = self.journal_file.read_text().splitlines() if self.journal_file.exists() else []
        return [note for note in map(json.loads, lines) if note.get("text") in texts]

    def wait_for_start(self, run: RunHandle, step: str, attempt: int = 1) -> dict[str, Any]:
        """Wait until the handler of a step runs; what it noted."""
        found = wait_until(
            lambda: [note for note in self.journal(run, step) if note["attempt"] == attempt],
            what=f"attempt {attempt} of {step}", timeout_s=20,
        )  # fmt: skip
        return found[0]

    def wait_for_state(self, run: RunHandle, step: str, state: StepState) -> None:
        wait_until(lambda: states(run).get(step) is state, what=f"{step} {state}", timeout_s=20)

    # --- server --------------------------------------------------------------------------------------------------

    @property
    def redis(self) -> redis.Redis:
        return connect(self.client.url, deadline_s=5)

    def kill_server(self) -> None:
        """kill -9 of the embedded server, and wait until its guard has started it again."""
        before = embedded.status(self.home).pid
        assert before
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: embedded.status(self.home).pid not in (None, before), what="the server", timeout_s=15)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait(10)
        self.client.close()
        leave(self.client.url)
        if self.settings.url is None:
            wait_until(lambda: not embedded.status(self.home).running, what="the end of the server", timeout_s=15)


@contextmanager
def team(folder: Path, **options: Any) -> Iterator[Team]:
    """A team for the time of a `with`."""
    made = Team(folder, **options)
    try:
        yield made
    finally:
        made.close()


def states(run: RunHandle) -> dict[str, StepState]:
    """step id -> state, items of a foreach included."""
    return {step.id: step.state for step in run.steps()}


def attempts(run: RunHandle) -> dict[str, int]:
    return {step.id: step.attempts for step in run.steps()}


def output(run: RunHandle, step: str) -> Any:
    return run.document()["steps"][step]["output"]


def names(run: RunHandle, step: str | None = None) -> list[str]:
    """The names of a run's events, in order; of one step, or of all."""
    return [event.name for event in run.events() if step in (None, event.step)]
