"""`orchestrator run` and the commands that look at a run, as processes, on the private server."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.project import Project
from tests.waiting import wait_until

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.close()


def test_run_prints_the_outputs_and_leaves_no_process(project: Project) -> None:
    done = project.call("run", "hello.yaml", "-i", "name=Ada")
    assert (done.returncode, done.stdout) == (0, "text: Hello, Ada!\n"), done.stderr
    assert re.search(r"\d\d:\d\d:\d\d step first started \(echo\.say\)", done.stderr)
    assert "hello succeeded in" in done.stderr
    project.wait_until_quiet(timeout_s=2)


def test_json_is_one_run_document_and_nothing_else(project: Project) -> None:
    run = project.json("run", "hello.yaml")
    assert {"run_id", "workflow", "status", "outputs", "error", "steps"} <= set(run)
    assert (run["workflow"], run["status"], run["outputs"]) == ("hello", "succeeded", {"text": "Hello, world!"})
    second = run["steps"]["second"]
    assert second["output"] == {"text": "Hello, world!"}
    assert (second["status"], second["agent"], second["attempts"], second["error"]) == ("succeeded", "echo", 1, None)
    assert RFC3339.fullmatch(second["started_at"])
    assert RFC3339.fullmatch(second["finished_at"])
    assert project.json("show", run["run_id"]) == run
    assert project.json("show", run["run_id"][:-1]) == run


def test_failed_run_exits_1_and_shows_type_and_message_but_no_traceback(project: Project) -> None:
    done = project.call("run", "fails.yaml")
    assert done.returncode == 1
    assert "step bad: ValueError: no [red]luck[/red]" in done.stderr
    assert done.stdout == ""
    [row] = project.json("runs", "--status", "failed")
    assert row["workflow"] == "fails"
    shown = project.call("show", row["run_id"])
    assert shown.returncode == 0
    assert "ValueError: no [red]luck[/red]" in shown.stdout
    assert "Traceback" not in shown.stdout
    document = project.json("show", row["run_id"])
    assert "Traceback" in document["steps"]["bad"]["error"]["traceback"]
    assert document["steps"]["never"]["status"] == "cancelled"


def test_broken_file_exits_2_with_every_mistake_and_stores_nothing(project: Project) -> None:
    done = project.call("run", "broken.yaml", "--json")
    assert done.returncode == 2
    errors = json.loads(done.stdout)["errors"]
    assert {"file", "line", "path", "message"} == set(errors[0])
    assert {error["line"] for error in errors} >= {4, 5}
    assert "did you mean agent?" in done.stderr
    assert re.search(r"broken\.yaml:5: ", done.stderr)
    assert "Traceback" not in done.stderr
    assert project.json("runs") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-i", "name"), "NAME=VALUE"),
        (("-i", "nmae=x"), "did you mean name?"),
        (("--inputs", "absent.json"), "absent.json"),
        (("--inputs", "hello.yaml"), "is no JSON"),
        (("--priority", "hihg"), "did you mean high?"),
        (("--agents", "absent.py"), "absent.py"),
    ],
)
def test_wrong_input_exits_2_in_words(project: Project, words: tuple[str, ...], said: str) -> None:
    done = project.call("run", "hello.yaml", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_unreachable_server_exits_4_within_5_s_and_masks_the_password(project: Project) -> None:
    began = time.monotonic()
    done = project.call("run", "hello.yaml", ORCHESTRATOR_URL="redis://user:sesame@127.0.0.1:1/0")
    assert done.returncode == 4
    assert time.monotonic() - began < 5
    assert "redis://user:***@127.0.0.1:1/0" in done.stderr
    assert "sesame" not in done.stderr
    project.wait_until_quiet(timeout_s=2)


def test_detached_run_waits_for_a_worker(project: Project) -> None:
    run = project.json("run", "hello.yaml", "--detach")
    assert run["status"] in ("pending", "running")
    worker = project.start("worker", "echo", "--log-level", "warning")
    project.wait_for_step(run["run_id"], "second", "succeeded")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    project.wait_until_quiet(timeout_s=2)
    names = [json.loads(line)["name"] for line in project.call("events", run["run_id"], "--json").stdout.splitlines()]
    assert names[0] == "run.created"
    assert names[-1] == "run.succeeded"


@pytest.mark.long
def test_own_timeout_exits_3_and_the_run_goes_on(project: Project) -> None:
    done = project.call("run", "sleep.yaml", "--timeout", "1", "--json")
    assert done.returncode == 3
    run = json.loads(done.stdout)
    assert run["status"] in ("pending", "running")
    assert f"orchestrator cancel {run['run_id']}" in done.stderr
    cancelled = project.json("cancel", run["run_id"])
    assert cancelled["status"] == "cancelled", cancelled["error"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_a_run_that_is_interrupted_or_killed(project: Project, number: signal.Signals) -> None:
    command = project.start("run", "sleep.yaml")
    assert command.stderr
    lines = iter(command.stderr.readline, "")
    assert any("half [bold]asleep[/bold]" in line for line in lines)
    command.send_signal(number)
    assert command.wait(15) == (130 if number == signal.SIGINT else -9)
    if number == signal.SIGINT:
        assert "is not cancelled" in command.stderr.read()
    project.wait_until_quiet()


@pytest.mark.long
def test_second_run_serves_agents_whose_workers_went_with_the_first(project: Project) -> None:
    # Short enough: the first run is not cancelled, and its step may come first again and take the only slot.
    first = project.start("run", "sleep.yaml", "-i", "seconds=12")
    wait_until(lambda: project.online() == {"slow"}, what="a worker", timeout_s=15, every_s=0.2)
    second = project.start("run", "sleep.yaml", "-i", "seconds=0.1", "--json")
    wait_until(lambda: len(project.json("runs")) == 2, what="two runs", timeout_s=10, every_s=0.2)
    first.send_signal(signal.SIGINT)
    assert first.wait(15) == 130
    out, _ = second.communicate(timeout=60)
    assert json.loads(out)["status"] == "succeeded"
