"""From tmux to inboxes with a real tmux: both ways, the report, cut-over, roll-back, and what is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import Client, MessageInvalid, MessageState
from orchestrator.agents.drafts import draft_message
from orchestrator.agents.migration import Migration, Route
from orchestrator.agents.receiver import Receiver
from orchestrator.errors import MigrationRefused
from orchestrator.records import Delivery, Draft
from orchestrator.store.directory import boxes_of
from tests.acceptance.project import Project
from tests.waiting import wait_until

WINDOW = "hive:agent-pm"


class Tmux:
    """A tmux server of its own, with one window in which `cat` shows what is pasted."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        size = ("-x", "200", "-y", "50")
        self._call("-f", "/dev/null", "new-session", "-d", "-s", "hive", "-n", "agent-pm", *size, "cat")

    def screen(self) -> str:
        return self._call("capture-pane", "-p", "-t", WINDOW)

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], check=False, capture_output=True)

    def _call(self, *words: str) -> str:
        told = subprocess.run(["tmux", "-L", self.socket, *words], check=True, capture_output=True, text=True)
        return told.stdout


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    made = Tmux(f"orchestrator-{os.getpid()}-{tmp_path.name}")  # a run of tests that was killed may have left one
    yield made
    made.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A folder whose commands, and the client of the test, serve the agents that come with the project."""
    made = Project(tmp_path)
    made.environment.pop("ORCHESTRATOR_AGENTS")
    for name in ("HOME", "LEASE_S"):
        monkeypatch.setenv(f"ORCHESTRATOR_{name}", made.environment[f"ORCHESTRATOR_{name}"])
    yield made
    made.close()


@pytest.mark.long
def test_an_agent_moves_from_its_window_to_its_inbox_and_back(project: Project, tmux: Tmux) -> None:
    worker = project.start("worker", "tmux", "--agents", "workers.tmux")
    wait_until(lambda: "tmux" in project.online(), what="the worker", timeout_s=20, every_s=0.2)
    project.call("migrate", "begin", "pm-agent", "--window", WINDOW, "--socket", tmux.socket)

    project.call("send", "pm-agent", "only into the window")
    wait_until(lambda: "only into the window" in tmux.screen(), what="the paste", timeout_s=10)
    assert project.json("inbox", "pm-agent", "--peek") == []

    project.call("migrate", "shadow", "pm-agent")
    refused = project.call("migrate", "cutover", "pm-agent")
    assert (refused.returncode, "0% parity over 0 shadowed" in refused.stderr) == (1, True)
    for number in range(3):
        project.call("send", "pm-agent", f"both ways {number}")
    wait_until(lambda: "both ways 2" in tmux.screen(), what="the copies", timeout_s=10)
    taken = project.json("inbox", "pm-agent")
    assert [message["body"]["content"] for message in taken] == [f"both ways {n}" for n in range(3)]
    for message in taken[:2]:
        project.call("ack", message["message_id"])
    refused = project.call("migrate", "cutover", "pm-agent")
    assert "67% parity over 3 shadowed messages; it needs 100 %" in refused.stderr
    refused = project.call("migrate", "decommission")
    assert (refused.returncode, "pm-agent" in refused.stderr) == (1, True)

    project.call("ack", taken[2]["message_id"])
    wait_until(
        lambda: project.json("migrate", "report")[0]["tmux"]["acknowledged"] == 3, what="parity", timeout_s=10
    )
    report = project.json("migrate", "report")[0]
    assert (report["agent"], report["mode"], report["parity"]) == ("pm-agent", "shadow", 1.0)
    assert report["bus"]["sent"] == report["bus"]["delivered"] == report["bus"]["acknowledged"] == 3
    assert report["tmux"]["p50_ms"] > 0
    assert "100%" in project.call("migrate", "report").stdout

    assert project.json("migrate", "cutover", "pm-agent")[0]["mode"] == "bus"
    project.call("send", "pm-agent", "only into the inbox")
    assert [m["body"]["content"] for m in project.json("inbox", "pm-agent", "--ack")] == ["only into the inbox"]
    assert "only into the inbox" not in tmux.screen()

    project.call("migrate", "rollback", "pm-agent")
    project.call("send", "pm-agent", "back in the window")
    wait_until(lambda: "back in the window" in tmux.screen(), what="the paste", timeout_s=10)
    project.call("migrate", "cutover", "pm-agent")
    assert project.json("migrate", "decommission") == {"decommissioned": ["pm-agent"]}
    assert project.json("migrate", "report") == []
    worker.terminate()
    worker.communicate(timeout=20)


def test_what_a_handler_sends_goes_both_ways_too(project: Project) -> None:
    with Client(agents=()) as client:
        office, migration = client.office, Migration(client.office)
        migration.begin("pm-agent", WINDOW)
        migration.shadow("pm-agent")
        office.directory.register("relay")

        def relay(delivery: Delivery, drafts: list[Draft]) -> None:
            drafts.append(office.address(draft_message(office.settings, to="pm-agent", sender="relay", content="hi")))

        receiver = Receiver(office, "relay", boxes_of("relay"))
        receiver.run(relay)
        client.send("relay", "go").wait("acknowledged", 10)
        wait_until(lambda: migration.report()[0].bus.sent == 1, what="the copy", timeout_s=5)
        receiver.close()
        assert office.inbox.peek(["tmux"])[0].message.metadata["window"] == WINDOW
        assert migration.report()[0].mode is Route.SHADOW


def test_mistakes_are_told(project: Project) -> None:
    with Client(agents=()) as client:
        migration = Migration(client.office)
        with pytest.raises(MessageInvalid, match="write SESSION:WINDOW"):
            migration.begin("pm-agent", "somewhere")
        with pytest.raises(MigrationRefused, match="has no window"):
            migration.shadow("pm-agent")
        with pytest.raises(MigrationRefused, match="no agent was moved over"):
            migration.decommission()
        client.office.directory.register("pm-agent")
        assert client.send("pm-agent", "x").status() is MessageState.PENDING
