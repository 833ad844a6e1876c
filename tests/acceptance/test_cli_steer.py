"""Commands that steer a run, as processes, on the private server; and the two about files, which need none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    for name, text in {"asks.yaml": ASKS, "undo.yaml": UNDO, "queue.yaml": QUEUE}.items():
        (tmp_path / name).write_text(text)
    # The private server stops with its last user; a command that goes on keeps it, as a worker would.
    made.start("worker", "echo", "--log-level", "warning")
    wait_until(lambda: made.online() == {"echo"}, what="a worker", timeout_s=15, every_s=0.2)
    yield made
    made.close()


def submit(project: Project, file: str, waits: str = "sign") -> str:
    """A run whose step waits for a signal now."""
    run_id: str = project.json("run", file, "--detach")["run_id"]
    project.wait_for_step(run_id, waits, "waiting")
    return run_id


def refused(project: Project, *words: str) -> str:
    """The one line of a command that ends with exit code 2."""
    done = project.call(*words)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    [line] = done.stderr.splitlines()
    return line


def wait_for_status(project: Project, run_id: str, status: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        run: dict[str, Any] = project.json("show", run_id)
        return run if run["status"] == status else None

    return wait_until(look, what=f"{run_id} {status}", timeout_s=15, every_s=0.1) or {}


def test_a_step_that_waits_is_approved_or_rejected_once(project: Project) -> None:
    run_id = submit(project, "asks.yaml")
    assert "waits for no signal: it is pending; what waits for one: sign" in refused(project, "reject", run_id, "told")
    assert "no step 'sing'" in refused(project, "approve", run_id, "sing")
    assert "(did you mean sign?)" in refused(project, "approve", run_id, "sing")
    assert "--data: is no JSON" in refused(project, "approve", run_id, "sign", "--data", "{by")
    assert "no run 'nowhere'" in refused(project, "approve", "nowhere", "sign")
    shown = project.json("show", run_id)["steps"]["sign"]
    assert (shown["waits_for_signal"], shown["reason"]) == ("approval", "waits for the signal approval")
    run = project.json("approve", run_id, "sign", "--data", '{"by": "Ada"}')
    assert (run["status"], run["outputs"]) == ("succeeded", {"by": "Ada"})
    assert refused(project, "approve", run_id, "sign") == f"run {run_id} is over: succeeded"
    assert refused(project, "pause", run_id) == f"run {run_id} is over: succeeded"

    run_id = submit(project, "asks.yaml")
    done = project.call("reject", run_id, "sign", "--reason", "numbers of last year")
    assert (done.returncode, done.stderr) == (0, f"step sign of run {run_id} is rejected\n")
    error = project.json("show", run_id)["error"]
    assert (error["type"], error["message"], error["step"]) == ("Rejected", "numbers of last year", "sign")


def test_a_signal_reaches_who_waits_or_is_kept_and_told_of_at_the_end(project: Project) -> None:
    run_id = submit(project, "asks.yaml")
    done = project.call("signal", run_id, "aproval")
    assert done.returncode == 0
    assert "it is kept until one does" in done.stderr
    assert "did you mean approval?" in done.stderr
    assert "signals nobody waits for yet: aproval" in project.call("show", run_id).stdout
    answer = project.json("signal", run_id, "approval", "--data", '{"by": "Bob"}')
    assert answer == {"signal": "approval", "reached": ["sign"], "kept": False}
    assert project.json("show", run_id)["unused_signals"] == ["aproval"]
    assert "run ends with signals nobody waited for: aproval" in project.call("events", run_id).stdout
    assert refused(project, "signal", run_id, "approval") == f"run {run_id} is over: succeeded"
    assert "NAME" in refused(project, "signal", run_id, "a b")


def test_a_paused_run_goes_on_when_it_is_resumed_and_saying_it_twice_is_no_error(project: Project) -> None:
    run_id = submit(project, "asks.yaml")
    assert project.json("pause", run_id)["status"] == "paused"
    again = project.call("pause", run_id)
    assert again.returncode == 0
    assert "was paused already" in again.stderr
    project.json("signal", run_id, "approval", "--data", '{"by": "Ada"}')
    assert project.json("show", run_id)["status"] == "paused"
    assert project.call("resume", run_id).stderr == f"run {run_id} goes on\n"
    assert wait_for_status(project, run_id, "succeeded")["outputs"] == {"by": "Ada"}
    assert refused(project, "resume", run_id) == f"run {run_id} is over: succeeded"


def test_cancel_undoes_what_is_done_unless_it_has_to_be_over_now(project: Project) -> None:
    run_id = submit(project, "undo.yaml")
    done = project.call("cancel", run_id)
    assert done.returncode == 0
    assert "is being stopped (cancelled, " in done.stderr
    project.wait_for_step(run_id, "clean", "waiting")
    again = project.call("cancel", run_id)
    assert again.returncode == 0
    assert "was being stopped already (cancelled, finally)" in again.stderr
    assert "(cancelled, finally)" in project.call("show", run_id).stdout
    assert (project.json("show", run_id)["verdict"], project.json("show", run_id)["phase"]) == ("cancelled", "finally")
    run = project.json("cancel", run_id, "--now")
    assert (run["status"], run["steps"]["first.compensate"]["status"]) == ("cancelled", "succeeded")
    assert project.call("cancel", run_id).stderr == f"run {run_id} was cancelled already\n"

    run_id = submit(project, "undo.yaml")
    run = project.json("cancel", run_id, "--now")
    assert (run["status"], "first.compensate" in run["steps"], "clean" in run["steps"]) == ("cancelled", False, False)


def test_runs_tell_what_they_wait_for_and_where_they_come_from(project: Project) -> None:
    first = submit(project, "queue.yaml")
    second = project.json("run", "queue.yaml", "--detach")["run_id"]
    assert f"waits for a place under queue:main, taken by {first}" in project.call("show", second).stdout
    assert project.json("show", second)["waits_for"] == "queue:main"
    project.json("signal", first, "approval")
    child = project.json("show", first)["steps"]["kid"]["child_run_id"]
    assert f"child of run {first}, step kid" in project.call("runs").stdout
    assert {run.get("parent_run_id") for run in project.json("runs")} == {None, first}
    assert "it is waiting, run " in refused(project, "approve", first, "kid")
    project.json("approve", child, "sign", "--data", '{"by": "Ada"}')
    assert wait_for_status(project, first, "succeeded")["steps"]["kid"]["output"] == {"by": "Ada"}
    project.wait_for_step(second, "sign", "waiting")


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
    assert [case["ok"] for case in quiet.json("test", "asks.yaml", code=1)["files"][0]["cases"]] == [True, False]
    assert quiet.call("test", "broken.yaml").returncode == 2
    schema = quiet.call("schema")
    assert schema.returncode == 0
    assert json.loads(schema.stdout)["required"] == ["name", "steps"]
    assert not (tmp_path / "state").exists()
