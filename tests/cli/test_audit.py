"""`orchestrator audit`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import app
from orchestrator.client import Client
from orchestrator.store import embedded
from tests.factories import plan, task


@pytest.fixture
def mine(server: embedded.EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of a clean server, which the commands of this process use too."""
    monkeypatch.setenv("ORCHESTRATOR_URL", server.url)
    made = Client()
    made.store.client.flushall()
    return made


def test_a_sum_that_adds_up_ends_with_0(mine: Client, capsys: pytest.CaptureFixture[str]) -> None:
    with mine:
        mine.submit(plan(task("a"), task("b", "a")))
        mine.quarantines()[0].put(b"{}", "agent.a", "cannot be read")
        assert app.main(["audit"]) == 0
        lines = capsys.readouterr().out.splitlines()
        mine.store.client.flushall()
    assert lines[:3] == [
        "runs:     1 accepted = 1 queued + 0 leased + 0 waiting + 0 terminal",
        "steps:    1 accepted = 1 queued + 0 leased + 0 waiting + 0 terminal",
        "messages: 0 accepted = 0 queued + 0 leased + 0 waiting + 0 terminal",
    ]
    assert [line.strip() for line in lines[3:5]] == [
        "1 in quarantine: no worker could read them", "no worker has run here yet",
    ]  # fmt: skip
    assert "ok  everything is accounted for (" in lines[5]
    assert len(lines) == 6


def test_what_cannot_be_accounted_for_is_listed_and_ends_with_1(
    mine: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mine:
        run = mine.submit(plan(task("a")))
        ids = tmp_path / "ids.txt"
        ids.write_text(f"{run.id}\n")
        mine.store.client.delete(mine.store.keys.ready)
        assert app.main(["audit", "--against", str(ids)]) == 1
        said = capsys.readouterr()
        assert f"fail  step {run.id} a: is pending, and nobody would miss its message" in said.out
        assert "0 terminal + 1 UNACCOUNTED FOR" in said.out
        assert said.out.splitlines()[-1].startswith("1 thing is not accounted for")
        mine.store.client.flushall()
        assert app.main(["audit", "--against", str(ids), "--json"]) == 1
        document = json.loads(capsys.readouterr().out)
        assert mine.audit([ids]).runs.unaccounted == 1
    assert document["runs"] == {
        "accepted": 1, "queued": 0, "leased": 0, "waiting": 0, "terminal": 0, "unaccounted": 1,
    }  # fmt: skip
    assert [finding["id"] for finding in document["findings"]] == [run.id]


def test_a_file_that_cannot_be_understood_ends_with_2_and_no_server_with_4(
    mine: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").write_text("some words\n")
    with mine:
        assert app.main(["audit", "--against", str(tmp_path / "notes")]) == 2
    assert capsys.readouterr().err.endswith("notes:1: is neither an id nor a line of `orchestrator sink file`\n")
    monkeypatch.setenv("ORCHESTRATOR_URL", "redis://127.0.0.1:1")
    assert app.main(["audit"]) == 4
