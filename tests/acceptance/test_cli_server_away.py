"""Commands that follow what happens, and a server that goes away meanwhile: they wait for it, and miss nothing."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.project import Project
from tests.acceptance.screen import Screen
from tests.faults.servers import Server
from tests.waiting import wait_until

PATIENT = """
import pathlib, time
from orchestrator import Agent, Context

echo = Agent("echo", concurrency=1)

@echo.task
def say(ctx: Context) -> str:
    ctx.log.info("it begins")
    while not pathlib.Path("open").exists():
        ctx.progress(0.5, "half")
        assert not ctx.cancelled
        time.sleep(0.05)
    ctx.log.info("it ends")
    return "said"
"""
SIGN = "name: sign\nsteps: [{id: sign, wait: {signal: approval}}, {id: say, agent: echo, task: say, with: {text: hi}}]"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server") as made:
        yield made


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Iterator[Project]:
    (tmp_path / "project").mkdir()
    made = Project(tmp_path / "project")
    (made.folder / "sign.yaml").write_text(SIGN)
    made.environment |= {"ORCHESTRATOR_URL": server.url, "ORCHESTRATOR_DEADLINE_S": "1"}
    yield made
    made.close()


def started(project: Project, *words: str) -> tuple[subprocess.Popen[str], Callable[[], str]]:
    """A command that goes on without a terminal, and what it has written so far."""
    path = project.folder / "written"
    with path.open("w") as file:
        made = subprocess.Popen(
            project.command(words), cwd=project.folder, env=project.environment, stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    return made, path.read_text


def waits_for(what: str, written: Callable[[], str]) -> None:
    wait_until(lambda: what in written(), what=f"{what!r} in what was written", timeout_s=30)


def test_a_run_that_is_followed_goes_on_when_the_server_is_back(
    project: Project, server: Server, on_screen: Callable[..., Screen]
) -> None:
    screen = on_screen(width=80, height=24)
    screen.start("run", "sign.yaml")
    screen.wait_for("orchestrator approve")
    [run] = project.json("runs")
    server.kill()
    screen.wait_for("sign - no answer of the server since", "trying again")
    server.start()
    screen.wait_until(lambda text: "no answer" not in text and "waiting" in text, what="the tree as before")
    assert project.call("approve", run["run_id"], "sign").returncode == 0
    assert "sign succeeded in" in screen.wait_for_prompt()[-2]


def test_ctrl_c_leaves_while_the_server_is_away(
    project: Project, server: Server, on_screen: Callable[..., Screen]
) -> None:
    run_id = project.json("run", "sign.yaml", "--detach")["run_id"]
    screen = on_screen()
    screen.start("events", run_id, "--follow")
    screen.wait_for("waits for the signal approval")
    server.kill()
    screen.wait_for("no answer of the server since")
    screen.press("C-c")
    screen.wait_for_prompt()
    screen.type("echo code $?")
    screen.wait_for("is not cancelled", "\ncode 130")


def interrupt(server: Server, written: Callable[[], str]) -> None:
    """Let the server be away until a command has told of it, and come back."""
    server.kill()
    waits_for("; trying again", written)
    server.start()
    waits_for("the server answers again", written)
    assert written().count("trying again") == 1


@pytest.mark.long
def test_plain_lines_say_once_that_the_server_is_away(project: Project, server: Server) -> None:
    process, written = started(project, "run", "sign.yaml")
    waits_for("orchestrator approve", written)
    interrupt(server, written)
    [run] = project.json("runs")
    assert project.call("approve", run["run_id"], "sign").returncode == 0
    assert process.wait(30) == 0
    assert written().count("waits for the signal") == 1, "what was read is not read again"
    assert "sign succeeded in" in written()


@pytest.mark.long
def test_the_journal_is_followed_beyond_a_server_that_was_away(project: Project, server: Server) -> None:
    run_id = project.json("run", "sign.yaml", "--detach")["run_id"]
    process, written = started(project, "events", "--follow")
    waits_for("run.started", written)
    interrupt(server, written)
    assert project.call("cancel", run_id).returncode == 0
    waits_for("run.cancelled", written)
    assert written().count("run.started") == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130


def test_a_handler_that_tells_its_progress_does_not_fail_while_the_server_is_away(
    project: Project, server: Server
) -> None:
    project.agents.write_text(PATIENT)
    (project.folder / "one.yaml").write_text("name: one\nsteps: [{id: say, agent: echo, task: say}]")
    process, written = started(project, "run", "one.yaml")
    waits_for("50% half", written)
    interrupt(server, written)
    (project.folder / "open").touch()
    assert process.wait(60) == 0, written()
    assert "say lost" not in written()


@pytest.mark.long
def test_a_log_is_followed_beyond_a_server_that_was_away(project: Project, server: Server) -> None:
    project.agents.write_text(PATIENT)
    (project.folder / "one.yaml").write_text("name: one\nsteps: [{id: say, agent: echo, task: say}]")
    project.start("worker")
    run_id = project.json("run", "one.yaml", "--detach")["run_id"]
    process, written = started(project, "logs", run_id, "--follow")
    waits_for("it begins", written)
    interrupt(server, written)
    (project.folder / "open").touch()
    assert process.wait(60) == 0, written()
    assert (written().count("it begins"), written().count("it ends")) == (1, 1)
