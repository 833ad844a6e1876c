"""Following a run while its server is stopped and started: the follower says so once, and goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.project import Project
from tests.acceptance.screen import Screen
from tests.faults.servers import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "server", tcp=True) as made:
        yield made


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Iterator[Project]:
    made = Project(tmp_path)
    made.environment["ORCHESTRATOR_URL"] = server.url
    (tmp_path / "sign.yaml").write_text("name: sign\nsteps: [{id: sign, wait: {signal: approval}}]\n")
    yield made
    made.close()


def test_plain_lines_go_on_when_the_server_is_back(project: Project, server: Server) -> None:
    run_id = project.json("run", "sign.yaml", "--detach")["run_id"]
    follower = project.start("events", run_id, "--follow")
    assert follower.stdout
    assert follower.stderr
    began = follower.stdout.readline()
    assert "run started" in began
    server.stop()
    assert "the server does not answer; trying again" in follower.stderr.readline()
    server.start()
    assert "the server answers again" in follower.stderr.readline()
    project.call("cancel", run_id)
    rest, errors = follower.communicate(timeout=30)
    assert follower.returncode == 0
    assert "run cancelled" in rest
    assert began not in rest, "every event is told once"
    assert not errors, "the outage is told once"


def test_the_tree_says_that_the_server_is_away_and_goes_on(
    project: Project, server: Server, on_screen: Callable[..., Screen]
) -> None:
    run_id = project.json("run", "sign.yaml", "--detach")["run_id"]
    screen = on_screen(width=130)
    screen.start("events", run_id, "--follow")
    screen.wait_for("sign - run")
    server.stop()
    screen.wait_for("the server does not answer since", timeout_s=30)
    server.start()
    screen.wait_until(lambda text: "does not answer" not in text, what="a server that is back", timeout_s=30)
    project.call("cancel", run_id)
    assert "sign cancelled in" in "\n".join(screen.wait_for_prompt()[-3:])


def test_ctrl_c_leaves_while_the_server_is_away(
    project: Project, server: Server, on_screen: Callable[..., Screen]
) -> None:
    run_id = project.json("run", "sign.yaml", "--detach")["run_id"]
    screen = on_screen(width=130)
    screen.start("events", run_id, "--follow")
    screen.wait_for("sign - run")
    server.stop()
    screen.wait_for("the server does not answer since", timeout_s=30)
    screen.press("C-c")
    assert f"run {run_id} is not cancelled:" in "\n".join(screen.wait_for_prompt())


def test_run_goes_on_with_its_workers_when_the_server_is_back(project: Project, server: Server) -> None:
    (project.folder / "both.yaml").write_text(
        "name: both\nsteps:\n  - {id: sign, wait: {signal: approval}}\n  - {id: last, set: {done: true}}\n"
        "outputs: {done: '${{ steps.last.output.done }}'}\n"
    )
    follower = project.start("run", "both.yaml")
    assert follower.stderr
    lines = iter(follower.stderr.readline, "")
    command = next(line for line in lines if "orchestrator approve" in line)
    run_id = command.split("approve ")[1].split()[0]
    server.stop()
    next(line for line in lines if "the server does not answer" in line)
    server.start()
    next(line for line in lines if "the server answers again" in line)
    assert project.call("approve", run_id, "sign").returncode == 0
    out, _ = follower.communicate(timeout=30)
    assert follower.returncode == 0
    assert "done: true" in out
