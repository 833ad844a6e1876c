"""What handlers log: on standard error with the ids of the attempt, and kept for `orchestrator logs`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import RunHandle, RunState
from tests.acceptance.project import Project
from tests.acceptance.team import SECRET, Team, team
from tests.waiting import wait_until


def texts(run: RunHandle, step: str | None = None) -> list[str]:
    return [line.text for line in run.logs(step)]


@pytest.mark.parametrize("agent", ["hand", "many"])
def test_lines_of_a_handler_are_kept_from_info_upwards_whatever_the_thread(crew: Team, agent: str) -> None:
    run = crew.run(f"steps: [{{id: a, agent: {agent}, task: speak, with: {{text: hello}}}}]")
    assert texts(run) == ["module: hello", "context: hello", "thread: hello"]
    line = next(run.logs())
    assert (line.step, line.attempt, line.agent, line.level) == ("a", 1, agent, "info")


@pytest.mark.parametrize("agent", ["hand", "many"])
def test_lines_of_coroutines_are_kept(crew: Team, agent: str) -> None:
    run = crew.run(f"steps: [{{id: a, agent: {agent}, task: speak_later, with: {{text: hello}}}}]")
    assert texts(run) == ["async: hello", "inner: hello"]


def test_the_lines_of_one_step_or_item(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: speak_later, with: {text: alone}}
          - {id: each, foreach: "${{ [1, 2] }}", agent: hand, task: speak_later, with: {text: "${{ string(item) }}"}}
        """
    )
    assert texts(run, "a") == ["async: alone", "inner: alone"]
    assert sorted(texts(run, "each")) == ["async: 1", "async: 2", "inner: 1", "inner: 2"]
    assert texts(run, "each[1]") == ["async: 2", "inner: 2"]


def test_a_secret_is_in_no_line(crew: Team) -> None:
    run = crew.run('steps: [{id: a, agent: hand, task: speak, with: {text: "key ${{ secrets.DOOR }}"}}]')
    assert texts(run)[0] == "module: key ***"
    assert "module: key ***" in crew.log
    assert [line for line in crew.log.splitlines() if SECRET in line and not line.startswith("printed: ")] == []
    assert SECRET not in str(list(run.logs()))


def test_a_line_in_the_workers_log_tells_what_it_belongs_to(crew: Team) -> None:
    run = crew.run("steps: [{id: a, agent: hand, task: speak, with: {text: told}}]")
    assert f"INFO run={run.id} step=a attempt=1 agent=hand module: told" in crew.log
    failed = crew.run("steps: [{id: b, agent: hand, task: fail}]")
    assert f"WARNING run={failed.id} step=b attempt=1 agent=hand {failed.id} b failed: ValueError" in crew.log


def test_a_run_that_logs_nothing_has_no_log(crew: Team) -> None:
    run = crew.run("steps: [{id: a, agent: hand, task: echo}]")
    assert texts(run) == []
    assert not crew.redis.exists(crew.client.store.keys.log(run.id))


def test_a_killed_worker_loses_no_line_older_than_a_second(tmp_path: Path) -> None:
    with team(tmp_path, lease_s=1.0) as apart:
        worker = apart.start_worker("hand")
        door = apart.new_file()
        run = apart.submit(f'steps: [{{id: a, agent: hand, task: speak, with: {{text: last, until: "{door}"}}}}]')
        apart.wait_for_start(run, "a")
        wait_until(lambda: len(texts(run)) == 3, what="what it has logged", timeout_s=1.5)
        apart.kill_worker(worker)
        door.touch()
        apart.start_worker("hand")
        assert run.wait(20).state is RunState.SUCCEEDED
        assert [(line.attempt, line.text) for line in run.logs()] == [
            (attempt, f"{who}: last") for attempt in (1, 2) for who in ("module", "context", "thread")
        ]


# --- the command ------------------------------------------------------------------------------------------------------

AGENTS = """
import logging, os, time
from orchestrator import Agent
log = logging.getLogger(__name__)
teller = Agent("teller", concurrency=1)

@teller.task
def tell(count: int) -> None:
    for at in range(count):
        log.info("line %d \\x1b[31m", at)

@teller.task
def wait(path: str) -> None:
    log.info("waiting")
    while not os.path.exists(path):
        time.sleep(0.02)
    log.info("there it is")

@teller.on_message
def hear(message):
    log.warning("heard it")
"""
TELL = """
name: tell
inputs: {count: {type: integer}}
steps: [{id: a, agent: teller, task: tell, with: {count: "${{ inputs.count }}"}}]
"""
LONG = """
name: long
steps:
  - {id: before, agent: teller, task: tell, with: {count: 1}}
  - {id: a, agent: teller, task: wait, with: {path: door}}
  - {id: b, agent: teller, task: tell, with: {count: 2}}
"""
WAIT = "name: wait\nsteps: [{id: a, agent: teller, task: wait, with: {path: door}}]\n"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    (tmp_path / "tellers.py").write_text(AGENTS)
    (tmp_path / "tell.yaml").write_text(TELL)
    (tmp_path / "long.yaml").write_text(LONG)
    (tmp_path / "wait.yaml").write_text(WAIT)
    made.environment["ORCHESTRATOR_AGENTS"] = str(tmp_path / "tellers.py")
    yield made
    made.close()


def test_logs_prints_the_lines_of_a_run_with_control_characters_shown(project: Project) -> None:
    run_id = project.json("run", "tell.yaml", "-i", "count=2")["run_id"]
    done = project.call("logs", run_id)
    assert [line.split(" ", 1)[1] for line in done.stdout.splitlines()] == [
        "INFO    a line 0 \\x1b[31m", "INFO    a line 1 \\x1b[31m",
    ]  # fmt: skip
    lines = [json.loads(line) for line in project.call("logs", run_id, "a", "--json").stdout.splitlines()]
    assert [(line["step"], line["attempt"], line["agent"], line["level"], line["text"]) for line in lines] == [
        ("a", 1, "teller", "info", "line 0 \x1b[31m"), ("a", 1, "teller", "info", "line 1 \x1b[31m"),
    ]  # fmt: skip


@pytest.mark.long
def test_logs_names_a_step_that_the_run_does_not_have(project: Project) -> None:
    run_id = project.json("run", "tell.yaml", "-i", "count=0")["run_id"]
    done = project.call("logs", run_id, "aa")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no step 'aa' (did you mean a?)" in done.stderr
    assert project.call("logs", run_id).stderr == "nothing was logged\n"


def test_logs_says_how_many_lines_are_dropped(project: Project) -> None:
    project.environment["ORCHESTRATOR_LOG_LINES"] = "3"
    project.start("worker")
    run_id = project.json("run", "long.yaml", "--detach")["run_id"]
    wait_until(lambda: project.call("logs", run_id).stdout.count("\n") == 2, what="the first lines", timeout_s=15)
    (project.folder / "door").touch()
    project.wait_for_step(run_id, "b", "succeeded")
    done = project.call("logs", run_id)
    assert done.stdout.splitlines()[0].endswith(" a there it is")
    assert done.stderr == "the oldest 2 lines are dropped; a run keeps 3\n"


def test_follow_prints_lines_as_they_come_and_ends_with_the_run(project: Project) -> None:
    project.start("worker")
    run_id = project.json("run", "wait.yaml", "--detach")["run_id"]
    following = project.start("logs", run_id, "--follow", "--json")
    assert following.stdout is not None
    assert json.loads(following.stdout.readline())["text"] == "waiting"
    (project.folder / "door").touch()
    assert json.loads(following.stdout.readline())["text"] == "there it is"
    assert following.wait(10) == 0
    assert following.stdout.read() == ""


def test_log_format_json_makes_every_line_of_a_worker_an_object(project: Project) -> None:
    worker = project.start("worker", "--log-format", "json")
    wait_until(lambda: "teller" in project.online(), what="the worker", timeout_s=20)  # or `run` starts its own
    project.json("run", "tell.yaml", "-i", "count=1")
    project.json("send", "teller", "hello")
    wait_until(lambda: project.json("inbox", "teller", "--peek") == [], what="the message", timeout_s=10)
    worker.terminate()
    _, log = worker.communicate(timeout=20)
    lines = [json.loads(line) for line in log.splitlines()]
    [told] = [line for line in lines if line["message"].startswith("line 0")]
    assert (told["step"], told["attempt"], told["agent"], len(told["run"])) == ("a", 1, "teller", 18)
    [heard] = [line for line in lines if line["message"] == "heard it"]
    assert (heard["agent"], heard["attempt"], len(heard["message_id"])) == ("teller", 1, 18)


def test_the_setting_says_how_lines_are_written_and_lines_need_no_level_to_be_kept(project: Project) -> None:
    project.environment["ORCHESTRATOR_LOG_FORMAT"] = "json"
    worker = project.start("worker", "--log-level", "warning")
    run = project.json("run", "tell.yaml", "-i", "count=1")
    assert project.call("logs", run["run_id"]).stdout.count("line 0") == 1
    worker.terminate()
    _, log = worker.communicate(timeout=20)
    assert "line 0" not in log
    assert all(json.loads(line)["level"] != "info" for line in log.splitlines())
    project.environment["ORCHESTRATOR_LOG_FORMAT"] = "xml"
    assert project.call("runs").returncode == 2


@pytest.mark.long
def test_logs_can_be_turned_off(project: Project) -> None:
    project.environment["ORCHESTRATOR_LOG_LINES"] = "0"
    run_id = project.json("run", "tell.yaml", "-i", "count=1")["run_id"]
    assert project.call("logs", run_id).stdout == ""


def test_every_line_of_a_worker_is_json_also_when_a_process_of_its_dies(project: Project) -> None:
    project.environment["ORCHESTRATOR_AGENTS"] = str(project.agents)
    project.agents.write_text(
        "import os\nfrom orchestrator import Agent\n\necho = Agent('echo', concurrency=1)\n\n"
        "@echo.task\ndef die() -> None:\n    os.kill(os.getpid(), 9)\n"
    )
    (project.folder / "die.yaml").write_text("name: die\nsteps: [{id: a, agent: echo, task: die}]")
    worker = project.start("worker", "echo", "--log-format", "json")
    wait_until(project.online, what="the worker", timeout_s=20)  # else the command serves the agent itself
    assert project.json("run", "die.yaml", code=1)["status"] == "failed"
    worker.terminate()
    _, written = worker.communicate(timeout=20)
    lines = [json.loads(line) for line in written.splitlines()]
    assert any("exited with 'signal 9 (SIGKILL)'" in line["message"] for line in lines)
