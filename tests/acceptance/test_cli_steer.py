"""Commands that steer a run, as processes, on the private server; and the two about files, which need none.

A process costs half a second: each command is one once, the other calls are made in this process.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Client, Settings
from orchestrator.cli.app import main
from orchestrator.store.connection import leave
from tests.acceptance.project import Project
from tests.waiting import wait_until

ASKS = """
name: asks
steps:
  - {id: sign, wait: {signal: approval}}
  - {id: told, set: {by: "${{ steps.sign.output.by }}"}}
outputs: {by: "${{ steps.told.output.by }}"}
tests:
  - {name: signed, signals: {approval: {by: Ada}}, expect: {outputs: {by: Ada}, ran: [told]}}
  - {name: nobody signs, expect: {status: failed}}
"""
UNDO = """
name: undo
steps:
  - {id: first, agent: echo, task: say, with: {text: one}, compensate: {agent: echo, task: say, with: {text: undone}}}
  - {id: sign, wait: {signal: approval}}
finally: [{id: clean, wait: {signal: cleaned}}]
"""
QUEUE = """
name: queue
concurrency: {key: main}
steps: [{id: sign, wait: {signal: approval}}, {id: kid, workflow: asks.yaml}]
"""


class Desk(Project):
    """A project with a worker, and a client beside the commands."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name, text in {"asks.yaml": ASKS, "undo.yaml": UNDO, "queue.yaml": QUEUE}.items():
            (folder / name).write_text(text)
        broker = self.environment.get("ORCHESTRATOR_BROKER_URL")
        self.client = Client(Settings(home=folder / "state", agents=(str(self.agents),), broker_url=broker))
        self.start("worker", "echo", "--log-level", "warning")
        wait_until(
            lambda: any(agent["presence"] == "online" for agent in self.client.agents()), what="a worker", timeout_s=20
        )

    def submit(self, file: str) -> str:
        """A run whose step `sign` waits for a signal now."""
        run = self.client.submit(self.folder / file)
        self.wait(run.id, "sign")
        return run.id

    def wait(self, run_id: str, step: str) -> None:
        """Wait until a step of a run waits for a signal."""
        wait_until(
            lambda: any(one.id == step and one.signal for one in self.client.run(run_id).steps()),
            what=f"{step} waiting", timeout_s=15,
        )  # fmt: skip

    def document(self, run_id: str) -> dict[str, Any]:
        return self.client.run(run_id).document()

    def here(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command in this process, which costs no start of Python."""
        out, err = TextIOWrapper(BytesIO(), "utf-8"), TextIOWrapper(BytesIO(), "utf-8")
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in ("ORCHESTRATOR_HOME", "ORCHESTRATOR_AGENTS", "ORCHESTRATOR_BROKER_URL"):
                if name in self.environment:
                    patch.setenv(name, self.environment[name])
            code = main(words)
        for stream in (out, err):
            stream.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())

    def close(self) -> None:
        self.client.close()
        leave(self.client.url)
        super().close()


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a command says that ends well."""
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr.strip()


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that ends with exit code 2."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    [line] = done.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("desk"))
    yield made
    made.close()


def test_a_step_that_waits_is_approved_or_rejected_once(desk: Desk) -> None:
    run_id = desk.submit("asks.yaml")
    line = refused(desk.call("reject", run_id, "told"))
    assert line == f"step 'told' of run {run_id} waits for no signal: it is pending; what waits for one: sign"
    assert refused(desk.here("approve", run_id, "sing")) == f"no step 'sing' in run {run_id} (did you mean sign?)"
    assert "--data: is no JSON" in refused(desk.here("approve", run_id, "sign", "--data", "{by"))
    run = desk.json("approve", run_id, "sign", "--data", '{"by": "Ada"}')
    assert (run["status"], run["outputs"]) == ("succeeded", {"by": "Ada"})
    assert refused(desk.here("approve", run_id, "sign")) == f"run {run_id} is over: succeeded"
    assert "no run 'nowhere'" in refused(desk.here("approve", "nowhere", "sign"))

    run_id = desk.submit("asks.yaml")
    assert (
        said(desk.call("reject", run_id, "sign", "--reason", "last year's")) == f"step sign of run {run_id} is rejected"
    )
    error = desk.document(run_id)["error"]
    assert (error["type"], error["message"], error["step"]) == ("Rejected", "last year's", "sign")


def test_a_signal_reaches_who_waits_or_is_kept_and_told_of_at_the_end(desk: Desk) -> None:
    run_id = desk.submit("asks.yaml")
    shown = desk.document(run_id)["steps"]["sign"]
    assert (shown["waits_for_signal"], shown["reason"]) == ("approval", "waits for the signal approval")
    kept = said(desk.call("signal", run_id, "aproval"))
    assert "it is kept until one does" in kept
    assert "did you mean approval?" in kept
    assert "signals nobody waits for yet: aproval" in desk.here("show", run_id).stdout
    answer = desk.json("signal", run_id, "approval", "--data", '{"by": "Bob"}')
    assert answer == {"signal": "approval", "reached": ["sign"], "kept": False}
    assert desk.document(run_id)["unused_signals"] == ["aproval"]
    assert "run ends with signals nobody waited for: aproval" in desk.here("events", run_id).stdout
    assert refused(desk.here("signal", run_id, "approval")) == f"run {run_id} is over: succeeded"


def test_a_paused_run_goes_on_when_it_is_resumed_and_saying_it_twice_is_no_error(desk: Desk) -> None:
    run_id = desk.submit("asks.yaml")
    assert desk.json("pause", run_id)["status"] == "paused"
    assert "was paused already" in said(desk.here("pause", run_id))
    desk.client.run(run_id).signal("approval", {"by": "Ada"})
    assert desk.document(run_id)["status"] == "paused"
    assert said(desk.call("resume", run_id)) == f"run {run_id} goes on"
    assert desk.client.run(run_id).result(10) == {"by": "Ada"}
    assert refused(desk.here("resume", run_id)) == f"run {run_id} is over: succeeded"


def test_cancel_undoes_what_is_done_unless_it_has_to_be_over_now(desk: Desk) -> None:
    run_id = desk.submit("undo.yaml")
    assert f"run {run_id} is being stopped (cancelled, " in said(desk.call("cancel", run_id))
    desk.wait(run_id, "clean")
    assert "was being stopped already (cancelled, finally)" in said(desk.here("cancel", run_id))
    assert "(cancelled, finally)" in desk.here("show", run_id).stdout
    assert (desk.document(run_id)["verdict"], desk.document(run_id)["phase"]) == ("cancelled", "finally")
    run = desk.json("cancel", run_id, "--now")
    assert (run["status"], run["steps"]["first.compensate"]["status"]) == ("cancelled", "succeeded")
    assert said(desk.here("cancel", run_id)) == f"run {run_id} was cancelled already"

    run_id = desk.submit("undo.yaml")
    run = desk.json("cancel", run_id, "--now")
    assert (run["status"], "first.compensate" in run["steps"], "clean" in run["steps"]) == ("cancelled", False, False)


def test_runs_tell_what_they_wait_for_and_where_they_come_from(desk: Desk) -> None:
    first = desk.submit("queue.yaml")
    second = desk.client.submit(desk.folder / "queue.yaml").id
    assert f"waits for a place under queue:main, taken by {first}" in desk.here("show", second).stdout
    assert desk.document(second)["waits_for"] == "queue:main"
    desk.client.run(first).signal("approval")
    child = desk.document(first)["steps"]["kid"]["child_run_id"]
    assert f"child of run {first}, step kid" in desk.here("runs").stdout
    assert desk.document(child)["parent_run_id"] == first
    assert f"it is waiting, run {child}" in refused(desk.here("approve", first, "kid"))
    desk.wait(child, "sign")
    desk.client.run(child).approve("sign", {"by": "Ada"})
    desk.client.run(first).wait(10)
    assert desk.document(first)["steps"]["kid"]["output"] == {"by": "Ada"}
    desk.wait(second, "sign")
    desk.client.run(second).cancel()


def test_a_run_that_only_waits_needs_no_worker_and_can_be_answered_while_it_is_followed(tmp_path: Path) -> None:
    alone = Project(tmp_path)
    (tmp_path / "asks.yaml").write_text(
        ASKS.replace("  - {id: told", "  - {id: nap, wait: {for: 100ms}}\n  - {id: told")
    )
    try:
        command = alone.start("run", "asks.yaml")
        assert command.stderr
        lines = iter(command.stderr.readline, "")
        hint = next(line for line in lines if "orchestrator approve" in line)
        run_id = hint.split("orchestrator approve ")[1].split()[0]
        alone.json("approve", run_id, "sign", "--data", '{"by": "Ada"}')
        out, told = command.communicate(timeout=15)
        assert (command.returncode, out) == (0, "by: Ada\n"), told
        assert "step sign succeeded" in told
        assert "step nap waits for 0.1 s" in told
        alone.wait_until_quiet()
    finally:
        alone.close()


def test_the_commands_about_files_start_nothing(tmp_path: Path) -> None:
    quiet = Project(tmp_path)
    (tmp_path / "asks.yaml").write_text(ASKS)
    done = quiet.call("test", "asks.yaml", "hello.yaml")
    assert done.returncode == 1
    assert "the run does not end: sign waits for the signal approval" in done.stdout
    assert "hello.yaml: has no tests" in done.stdout
    assert done.stderr == "1 ok, 1 failed\n"
    assert quiet.call("test", "broken.yaml").returncode == 2
    schema = quiet.call("schema")
    assert schema.returncode == 0
    assert json.loads(schema.stdout)["required"] == ["name", "steps"]
    assert not (tmp_path / "state").exists()
