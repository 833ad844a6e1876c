"""kill -9 of the embedded server while workers run: they survive it, and nothing that was accepted is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orchestrator import RunState
from orchestrator.store import embedded
from tests.acceptance.team import Team, attempts, output, team
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("restart"), lease_s=2.0) as made:
        made.start_worker("hand", concurrency=2)
        made.start_worker("many", pool="threads")
        yield made


def test_runs_survive_a_killed_server(crew: Team) -> None:
    door = crew.new_file()
    text = f"""
    steps:
      - parallel:
        - {{id: held, agent: hand, task: hold, with: {{until: "{door}", value: 5}}}}
        - {{id: threaded, agent: many, task: hold, with: {{until: "{door}", value: 6}}}}
      - {{id: each, foreach: [1, 2, 3, 4], max_parallel: 2, agent: hand, task: echo, with: {{value: "${{{{item}}}}"}}}}
      - {{id: last, agent: many, task: echo, with: {{value: "${{{{ steps.held.output + steps.threaded.output }}}}"}}}}
    outputs: {{last: "${{{{ steps.last.output }}}}", each: "${{{{ steps.each.output }}}}"}}
    """
    runs = [crew.submit(text) for _ in range(3)]
    crew.wait_for_start(runs[0], "held")
    crew.wait_for_start(runs[2], "threaded")
    workers = crew.online()
    # The append-only file is written within a second: wait until the last submit is in it.
    crew.redis.waitaof(1, 0, 5000)
    crew.kill_server()
    door.touch()
    for run in runs:
        assert run.result(40) == {"last": 11, "each": [1, 2, 3, 4]}
        assert set(attempts(run).values()) <= {0, 1}, "a restart of the server is nobody's loss"
        assert len(crew.journal(run)) == 7
    wait_until(lambda: crew.online() == workers, what="the same workers, alive", timeout_s=10)


@pytest.mark.long
def test_a_server_that_is_killed_again_and_again(crew: Team) -> None:
    run = crew.submit(
        """
        steps:
          - {id: each, foreach: "${{ lists.range(60) }}", max_parallel: 4, agent: many, task: echo, with: {value: "${{ item }}"}}
          - {id: retried, agent: hand, task: flaky, with: {times: 2}, retry: {max_attempts: 3, delay: 100ms}}
        """  # noqa: E501
    )
    for step in ("each[10]", "each[30]", "each[50]"):
        crew.wait_for_start(run, step)
        crew.redis.waitaof(1, 0, 5000)
        crew.kill_server()
    assert run.wait(60).state is RunState.SUCCEEDED
    assert output(run, "each") == list(range(60))
    assert output(run, "retried")["attempt"] == 3


def test_a_follower_goes_on_after_a_restart_and_a_client_too(crew: Team) -> None:
    before = embedded.status(crew.home).pid
    run = crew.run("steps: [{id: a, agent: hand, task: echo, with: {value: 1}}]")
    crew.redis.waitaof(1, 0, 5000)
    crew.kill_server()
    assert embedded.status(crew.home).pid != before
    assert output(run, "a") == 1
    assert crew.run("steps: [{id: a, agent: many, task: echo, with: {value: 2}}]").status() is RunState.SUCCEEDED
    for worker in crew.workers:
        os.kill(worker.pid, 0)
        assert worker.poll() is None
