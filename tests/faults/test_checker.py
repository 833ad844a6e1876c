"""The judge finds what is wrong: each test makes one wrong thing happen and looks for its line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from orchestrator import Client, Settings
from orchestrator.store.directory import Directory
from orchestrator.store.embedded import EmbeddedServer
from tests.faults.agents import alpha
from tests.faults.checker import Checker, Verdict, percentile
from tests.faults.oracle import Pen

WORKER = "alpha@here"


class Office:
    """One sender and one worker, played by the test."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.pen = Pen(folder, "test")

    def send(self, key: str) -> str:
        self.pen.write("try", key, kind="message")
        message_id = self.client.send("alpha", {"key": key}, idempotency_key=key).message_id
        self.pen.write("accepted", key, id=message_id)
        return message_id

    def handle(self, key: str, message_id: str, *, pid: int = 1, attempt: int = 1, until: str = "end") -> None:
        """What a handler would note, up to a word."""
        for what in ("start", "effect", "end"):
            self.pen.write(what, key, step="", attempt=attempt, pid=pid, message=message_id, run="")
            if what == until:
                return

    def acknowledge(self, message_id: str) -> None:
        inbox = self.client.office.inbox
        held = inbox.claim(["alpha"], receiver=WORKER, lease_ms=60_000, message_id=message_id)
        assert held
        inbox.finish(message_id, "acknowledged", receiver=WORKER, box="alpha", attempt=held.attempt)

    def judge(self) -> Verdict:
        return Checker(self.client, self.folder).judge(timeout_s=0)


@pytest.fixture
def office(client: redis.Redis, server: EmbeddedServer, tmp_path: Path) -> Iterator[Office]:
    with Client(Settings(url=server.url)) as made:
        Directory(made.store.client, made.store.keys, lease_ms=10_000).heartbeat(WORKER, [alpha.info])
        yield Office(made, tmp_path)


def test_all_is_well(office: Office) -> None:
    message_id = office.send("m-0")
    office.handle("m-0", message_id)
    office.acknowledge(message_id)
    verdict = office.judge()
    verdict.require()
    assert (verdict.counts["ok"], verdict.counts["lost"], verdict.counts["heard_in_60_s"]) == (1, 0, 1)


def test_a_message_that_is_not_over_is_lost(office: Office) -> None:
    office.send("m-0")
    assert office.judge().broken[0] == "I1 lost: 1: m-0"


def test_a_message_that_is_gone_is_lost(office: Office, client: redis.Redis) -> None:
    client.delete(f"o:msg:{office.send('m-0')}")
    assert office.judge().counts["lost"] == 1


def test_an_acknowledged_message_that_no_handler_finished_is_lost(office: Office) -> None:
    message_id = office.send("m-0")
    office.handle("m-0", message_id, until="effect")
    office.acknowledge(message_id)
    assert office.judge().counts["lost"] == 1


def test_a_handler_that_ran_for_nothing_is_found(office: Office) -> None:
    office.handle("stranger", "x")
    office.pen.write("try", "m-0", kind="message")
    office.pen.write("refused", "m-0", error="StoreUnavailable")
    office.handle("m-0", "y")
    assert office.judge().broken[0].endswith("2: stranger never sent, m-0 refused")


def test_an_outage_does_not_pass(office: Office) -> None:
    for number in range(5):
        office.pen.write("try", f"m-{number}", kind="message")
        office.pen.write("refused", f"m-{number}", error="StoreUnavailable")
    assert "0 of 5 attempted were accepted" in office.judge().broken[-1]


def test_a_message_that_became_two_is_found(office: Office) -> None:
    message_id = office.send("m-0")
    office.handle("m-0", message_id)
    office.handle("m-0", "another", pid=2)
    office.acknowledge(message_id)
    assert any(line.startswith("I1 another id") for line in office.judge().broken)


def test_a_takeover_is_timed_from_the_blow(office: Office) -> None:
    message_id = office.send("m-0")
    office.handle("m-0", message_id, pid=1, until="start")
    office.pen.write("fault", "alpha-1", kind="kill", pids=[1, 5])
    office.handle("m-0", message_id, pid=2, attempt=2)
    verdict = office.judge()
    assert (verdict.counts["recovered"], verdict.counts["extra_attempts"]) == (1, 1)
    assert 0 < verdict.takeover_s[0] < 5


def test_percentiles() -> None:
    assert [percentile([4.0, 1.0, 2.0, 3.0], share) for share in (0.5, 0.95, 1.0)] == [2.0, 4.0, 4.0]
    assert percentile([], 0.5) == 0.0
