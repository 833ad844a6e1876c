"""Junk on a queue ends no worker, is kept with its bytes and a reason, and good work goes on beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from orchestrator import RunState
from orchestrator.cli.app import main
from tests.acceptance.team import Team, team
from tests.junk import junk
from tests.waiting import wait_until

QUEUE = "agent.hand"
KEY = f"{QUEUE}\x06\x164"  # high priority: before what the test submits
JUNK = junk(QUEUE)


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("junk")) as made:
        made.start_worker("hand", concurrency=2)
        yield made


def test_junk_is_quarantined_and_good_work_goes_on(crew: Team) -> None:
    runs = []
    for raw, _ in JUNK.values():
        crew.redis.lpush(KEY, raw)
        runs.append(crew.submit("steps: [{id: a, agent: hand, task: echo, with: {value: 1}}]"))
    assert [run.wait(30).state for run in runs] == [RunState.SUCCEEDED] * len(JUNK)
    (quarantine,) = crew.client.quarantines()
    wait_until(lambda: len(quarantine.all()) == len(JUNK), what="all of it in quarantine", timeout_s=20)
    found = {entry.raw: entry for entry in quarantine.all()}
    for name, (raw, reason) in JUNK.items():
        if reason == "cannot be read":
            assert found[raw].reason.startswith(reason), name
        assert any(reason in entry.reason for entry in found.values()), name
    assert all(entry.queue == QUEUE for entry in found.values())
    wait_until(lambda: crew.redis.hlen("unacked") == 0, what="the end of the last moment", timeout_s=20)


def test_the_command_dead_lists_shows_and_purges_it(
    crew: Team, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(crew.home))
    (quarantine,) = crew.client.quarantines()
    quarantine.put(b"\x00 [red]not json", "agent.hand", "cannot be read: at all")

    def call(*words: str) -> str:
        assert main(["dead", *words]) == 0
        return capsys.readouterr().out

    listed = json.loads(call("--json"))[-1]
    name = listed["message_id"]
    told = {key: listed[key] for key in ("status", "queue", "reason", "bytes")}
    assert told == {
        "status": "quarantined", "queue": "agent.hand", "reason": "cannot be read: at all", "bytes": 15,
    }  # fmt: skip
    assert "cannot be read: at all" in call()
    assert "\\x00 [red]not json" in call("show", name)
    assert base64.b64decode(json.loads(call("show", name, "--json"))[0]["raw"]) == b"\x00 [red]not json"
    assert main(["dead", "replay", name]) == 2
    assert "is in quarantine" in capsys.readouterr().err
    assert json.loads(call("purge", name, "--json")) == {"purged": 1}
    assert quarantine.read(name) is None
