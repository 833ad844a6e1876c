"""`orchestrator top` on a terminal, and where there is none."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.store import embedded
from tests.acceptance.project import Project
from tests.acceptance.screen import Screen


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    made.environment["ORCHESTRATOR_DEADLINE_S"] = "1"
    yield made
    made.close()


def test_top_shows_what_waits_and_what_goes_on_and_q_restores_the_terminal(
    project: Project, on_screen: Callable[..., Screen]
) -> None:
    screen = on_screen(width=80, height=24)
    screen.type("echo before")
    run_id = project.json("run", "hello.yaml", "--detach", "--priority", "high")["run_id"]
    screen.start("top", "--interval", "0.5")
    shown = screen.wait_for("orchestrator top", "AGENTS", "QUEUES", "RUNS", run_id, "steps 0.0/s")
    assert screen.is_alternate
    assert not screen.cursor_is_shown
    assert all(len(line) < 80 for line in shown)
    [queue] = [line.split() for line in shown if line.startswith("echo  ") and "high" in line]
    assert queue[:3] == ["echo", "high", "1"]
    worker = project.start("worker", "echo", "--log-level", "warning")
    screen.wait_until(lambda text: run_id not in text and "1 of 1 online" in text, what="a worker, and the run's end")
    screen.resize(140, 40)
    screen.wait_until(lambda text: "emergency" in text and text.count("AGENTS") == 1, what="a wide picture")
    screen.resize(60, 12)
    screen.wait_until(lambda text: "emerg " in text and text.count("AGENTS") == 1, what="a narrow picture")
    screen.press("q")
    shown = screen.wait_for_prompt()
    assert not screen.is_alternate
    assert "before" in shown
    assert not any("AGENTS" in line for line in shown)
    screen.type("echo it is shown what is typed")
    screen.wait_for("\nit is shown what is typed")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0


@pytest.mark.parametrize("key", ["C-c", "C-d"])
def test_ctrl_c_ends_it_too(project: Project, on_screen: Callable[..., Screen], key: str) -> None:
    screen = on_screen()
    screen.start("top")
    screen.wait_for("AGENTS")
    screen.press(key)
    screen.wait_for_prompt()
    screen.type("echo code $?")
    screen.wait_for("\ncode 0")


def test_ctrl_z_gives_the_terminal_back(project: Project, on_screen: Callable[..., Screen]) -> None:
    screen = on_screen()
    screen.type("set -m")
    screen.start("top")
    screen.wait_for("AGENTS")
    screen.press("C-z")
    screen.wait_for_prompt()
    assert not screen.is_alternate
    screen.type("fg")
    screen.wait_for("AGENTS")
    assert screen.is_alternate
    screen.press("q")
    screen.wait_for_prompt()


@pytest.mark.long
def test_a_server_that_is_away_is_told_of_until_it_is_back(project: Project, on_screen: Callable[..., Screen]) -> None:
    screen = on_screen(width=140)
    screen.start("top", "--interval", "0.3")
    screen.wait_for("steps 0.0/s")
    pid = embedded.status(project.folder / "state").pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        screen.wait_for("the server does not answer, for", "AGENTS")
    finally:
        os.kill(pid, signal.SIGCONT)
    screen.wait_until(lambda text: "does not answer" not in text and "steps 0.0/s" in text, what="rates again")
    os.kill(pid, signal.SIGKILL)
    screen.wait_until(
        lambda text: embedded.status(project.folder / "state").pid not in (None, pid) and "steps 0.0/s" in text,
        what="rates of the server that was started again",
    )
    screen.press("q")
    screen.wait_for_prompt()


@pytest.mark.long
def test_without_a_terminal_it_prints_one_picture_and_as_json_one_document(project: Project) -> None:
    run_id = project.json("run", "hello.yaml", "--detach", "--priority", "low")["run_id"]
    done = project.call("top", "--interval", "0.2")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert {"AGENTS", "QUEUES", "RUNS", run_id} <= {word for line in done.stdout.splitlines() for word in line.split()}
    found = project.json("top", "--interval", "0.2")
    assert set(found) == {"at", "rates", "agents", "runs", "dead_letters"}
    assert set(found["rates"]) == {"steps_per_s", "runs_per_s", "messages_per_s", "over_s"}
    assert [(run["run_id"], run["active"]) for run in found["runs"]["open"]] == [(run_id, 0)]
    [agent] = found["agents"]
    assert (agent["name"], agent["presence"], agent["queue"]["low"]["steps"]) == ("echo", "offline", 1)
    assert json.loads(project.call("top", "--json", "--interval", "0.2").stdout)["runs"]["failed"] == []


def test_a_server_that_is_not_there_at_the_beginning_is_an_error(project: Project) -> None:
    done = project.call("top", ORCHESTRATOR_URL="redis://user:sesame@127.0.0.1:1/0")
    assert done.returncode == 4
    assert "redis://user:***@127.0.0.1:1/0" in done.stderr
    assert project.call("top", "--interval", "0").returncode == 2
