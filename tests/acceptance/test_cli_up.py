"""`orchestrator up` and what can be asked while it runs; one `up` for the whole file."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.project import Project


class Up:
    """A running `up` and what it printed."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.process: subprocess.Popen[str] = project.start("up", "--port", "0", "--json")
        assert self.process.stdout
        text = ""
        for line in self.process.stdout:
            text += line
            if line == "}\n":
                break
        self.said: dict[str, Any] = json.loads(text)

    @property
    def site(self) -> str:
        return str(self.said["flower"]).partition("?")[0]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    project = Project(tmp_path_factory.mktemp("project"))
    started = Up(project)
    yield started
    project.close()


def status_of(url: str, opener: urllib.request.OpenerDirector | None = None) -> tuple[int, str]:
    try:
        with (opener or urllib.request.build_opener()).open(url, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_up_says_what_runs(up: Up) -> None:
    assert up.said["agents"] == ["echo", "slow"]
    agents = up.project.json("agents")
    assert [(agent["name"], agent["presence"], len(agent["workers"])) for agent in agents] == [
        ("echo", "online", 1),
        ("slow", "online", 1),
    ]
    assert set(agents[0]) == {"name", "capabilities", "presence", "activity", "queue", "running", "workers"}
    assert list(agents[0]["queue"]) == ["emergency", "urgent", "high", "medium", "low"]
    assert [agent["name"] for agent in up.project.json("agents", "--capability", "talking")] == ["echo"]


def test_run_starts_no_worker_when_one_is_online(up: Up) -> None:
    before = len(up.project.processes())
    run = up.project.json("run", "hello.yaml")
    assert run["status"] == "succeeded"
    assert len(up.project.processes()) == before
    assert [agent["workers"] for agent in up.project.json("agents")] == [
        agent["workers"] for agent in up.project.json("agents")
    ]


def test_cancel_stops_a_running_run(up: Up) -> None:
    run_id = up.project.call("run", "sleep.yaml", "--detach").stdout.strip()
    up.project.wait_for_step(run_id, "nap", "running")
    assert up.project.json("cancel", run_id)["status"] == "cancelled"
    again = up.project.call("cancel", run_id)
    assert (again.returncode, again.stdout) == (0, "")
    assert "cancelled already" in again.stderr


def test_events_follow_to_the_end_of_the_run(up: Up) -> None:
    run_id = up.project.call("run", "hello.yaml", "--detach").stdout.strip()
    told = up.project.call("events", run_id, "--follow").stdout
    assert "step second succeeded" in told
    assert told.rstrip().endswith("run succeeded")


def test_doctor_finds_nothing_wrong(up: Up) -> None:
    report = up.project.json("doctor")
    assert report["ok"] is True
    assert {check["check"] for check in report["checks"]} >= {"server", "durability", "workers", "keeper", "agents"}


@pytest.mark.parametrize("words", [("show", "nosuchrun"), ("events", "nosuchrun"), ("cancel", "nosuchrun")])
def test_unknown_run_exits_2_with_one_line(up: Up, words: tuple[str, ...]) -> None:
    done = up.project.call(*words)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["no run 'nosuchrun'; `orchestrator runs` lists them"]


def test_nothing_of_flower_opens_without_the_link(up: Up) -> None:
    file = up.project.folder / "state" / "flower.url"
    for path in ("", "tasks", "metrics", "healthcheck", "api/workers", "static/css/flower.css", "?token=wrong"):
        code, text = status_of(up.site + path)
        assert (code, str(file) in text) == (403, True), path


def test_the_link_opens_flower_and_leaves_a_cookie(up: Up) -> None:
    file = up.project.folder / "state" / "flower.url"
    assert file.read_text().strip() == up.said["flower"]
    assert file.stat().st_mode & 0o777 == 0o600
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    assert status_of(up.said["flower"], browser)[0] == 200
    code, workers = status_of(up.site + "api/workers?refresh=1", browser)
    assert code == 200
    assert "agent.echo" in workers


def test_reader_that_leaves_early_is_no_error(up: Up) -> None:
    command = up.project.start("agents", "--json")
    assert command.stdout
    command.stdout.close()
    assert command.wait(10) in (0, 141)
    assert command.stderr
    assert command.stderr.read() == ""


def test_worker_that_is_killed_is_started_again(up: Up) -> None:
    [worker] = next(agent["workers"] for agent in up.project.json("agents") if agent["name"] == "echo")
    pid = int(worker.partition("@")[0].rpartition(".")[2])
    subprocess.run(["kill", "-9", str(pid)], check=True)
    assert up.project.json("run", "hello.yaml")["status"] == "succeeded"


def test_ctrl_c_stops_everything_with_exit_code_0(up: Up) -> None:
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(15) == 0
    up.project.wait_until_quiet(timeout_s=3)
    assert not Path(up.project.folder / "state" / "flower.url").exists()
