"""`orchestrator metrics`: what waits for agents, while nobody serves them and while somebody does; what was done."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import StepState
from orchestrator.metrics.gathering import gather
from orchestrator.store.keys import Keys
from orchestrator.store.sums import parse_sums
from tests.acceptance.project import Project
from tests.acceptance.team import Team, team
from tests.waiting import wait_until


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.close()


def test_metrics_tell_what_waits_before_and_after_a_worker_comes(project: Project) -> None:
    for priority in ("high", "high", "low"):
        assert project.call("run", "hello.yaml", "--priority", priority, "--detach").returncode == 0
    served = project.start("metrics", "--port", "0")
    assert served.stderr
    url = served.stderr.readline().strip().removeprefix("metrics at ")
    assert url.startswith("http://127.0.0.1:")

    def load() -> dict[str, Any]:
        with urllib.request.urlopen(f"{url}.json", timeout=10) as reply:
            return dict(json.load(reply)["agents"]["echo"])

    found = load()
    assert {name: queue["steps"] for name, queue in found["queue"].items() if queue["steps"]} == {"high": 2, "low": 1}
    assert (found["load"], found["waiting"], found["running"], found["workers"]) == (3, 3, 0, 0)
    assert found["oldest_waiting_s"] > 0
    assert project.json("metrics")["agents"]["echo"]["waiting"] == 3
    text = project.call("metrics").stdout
    assert 'orchestrator_queue_depth{agent="echo",priority="high"} 2.0\n' in text
    assert "# TYPE orchestrator_queue_depth gauge\n" in text

    worker = project.start("worker", "echo")
    wait_until(lambda: load()["workers"] == 1 and load()["load"] == 0, what="the queue to be done", timeout_s=20)
    with urllib.request.urlopen(url, timeout=10) as reply:
        assert 'orchestrator_workers_online{agent="echo"} 1.0' in reply.read().decode()

    def text_of(name: str) -> list[str]:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return [line for line in reply.read().decode().splitlines() if line.startswith(f"orchestrator_{name}")]

    done = ['orchestrator_runs_finished_total{workflow="hello",state="succeeded"} 3.0']
    wait_until(lambda: text_of("runs_finished_total") == done, what="the ends of the runs", timeout_s=10)
    assert text_of("runs_created_total") == ['orchestrator_runs_created_total{workflow="hello"} 3.0']
    assert sorted(text_of("step_queue_wait_seconds_count")) == [
        'orchestrator_step_queue_wait_seconds_count{agent="echo",priority="high"} 4.0',
        'orchestrator_step_queue_wait_seconds_count{agent="echo",priority="low"} 2.0',
    ]
    for process in (worker, served):
        process.send_signal(signal.SIGINT)
    assert served.wait(timeout=10) == 0
    assert worker.wait(timeout=15) == 0
    series = project.json("metrics")["series"]
    (took,) = series["orchestrator_attempt_duration_seconds"]
    assert (took["labels"]["agent"], took["count"]) == ("echo", 6), "the sums outlive whoever counted"
    assert series["orchestrator_runs"] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "invalid value for --host: only with --port"),
        (["--port", "0", "--json"], "invalid value for --json: not with --port"),
    ],
)
def test_metrics_refuses_options_that_do_not_go_together(project: Project, words: list[str], says: str) -> None:
    done = project.call("metrics", *words)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.long
def test_the_keeper_goes_on_to_count_what_somebody_has_asked_for(crew: Team) -> None:
    gather(crew.client)
    run = crew.submit("steps: [{id: a, agent: hand, task: echo, with: {value: 7}}, {id: b, wait: {for: 1m}}]")
    watch, keys = crew.redis, Keys()
    crew.wait_for_state(run, "b", StepState.WAITING)

    def counted() -> bool:
        sums = {one.family: one.value for one in parse_sums(watch.hgetall(keys.sums)) if one.labels == ("test",)}
        return bool(watch.hexists(keys.open_runs, run.id)) and "runs_created_total" in sums

    wait_until(counted, what="the keeper to count", timeout_s=20)
    run.cancel()
    run.wait(20)
    gather(crew.client)
    assert not watch.hexists(keys.open_runs, run.id)


def test_the_sums_are_exact_after_the_server_was_killed(tmp_path: Path) -> None:
    with team(tmp_path) as made:
        made.start_worker("solo")

        def tell() -> dict[str, Any]:
            return {one.family: one.value for one in gather(made.client).sums if not one.labels or "test" in one.labels}

        for _ in range(3):
            made.run("steps: [{id: a, agent: solo, task: echo}, {id: b, agent: solo, task: echo}]")
        before = tell()
        assert before["runs_finished_total"] == 3
        made.redis.bgrewriteaof()
        told = lambda: made.redis.info("persistence")  # noqa: E731
        wait_until(lambda: not told()["aof_rewrite_in_progress"], what="the end of the rewrite", timeout_s=20)
        made.submit("steps: [{id: a, agent: solo, task: echo}]")  # may be lost, with its entries and their sums
        tell()
        made.kill_server()
        run = made.run("steps: [{id: a, agent: solo, task: echo}]")
        assert run.status() == "succeeded"
        written = lambda: made.redis.xinfo_stream(Keys().journal)["entries-added"]  # noqa: E731
        wait_until(
            lambda: tell()["journal_entries_total"] == written(), what="each entry to be counted, once", timeout_s=20
        )
        after = tell()
        assert after["runs_finished_total"] in (4, 5)
        assert "journal_entries_missed_total" not in after
