"""F34: what people do to a server by mistake. It cannot be undone; it must be told, and nothing may hang or mix."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.faults.fleet import Fleet
from tests.faults.oracle import Book
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

MESSAGES = 200
RATE = 20.0
SLOW_MS = 400
AGAIN_S = 30.0  # until new work goes through after any of it
NOT_FOUND = 2  # exit code
UNACCOUNTED = 1

Done = subprocess.CompletedProcess[str]


def _ids(trial: Trial) -> Path:
    """A file with the ids of everything that was accepted."""
    file = trial.folder / "accepted.txt"
    file.write_text("".join(f"{fate.id}\n" for fate in Book.read(trial.oracle).fates.values() if fate.id))
    return file


def _line(done: Done, words: str) -> str:
    """The line that says so."""
    found = [line for line in done.stdout.splitlines() if words in line]
    assert found, f"no line with {words!r}:\n{done.stdout}{done.stderr}"
    return found[0]


def _works_again(trial: Trial, fleet: Fleet, name: str) -> None:
    """A new message is handled; AssertionError if that takes too long."""

    def send() -> bool:
        return fleet.call("send", "alpha", "--json-body", f'{{"key": "{name}"}}').returncode == 0

    wait_until(send, what="a send that is accepted", timeout_s=AGAIN_S)
    handled = lambda: any(key == name for key, _ in Book.read(trial.oracle).tries_of)  # noqa: E731
    wait_until(handled, what=f"{name} to be handled", timeout_s=AGAIN_S, every_s=0.2)


@pytest.mark.fault("F34", "`FLUSHALL` while everything works")
@pytest.mark.timeout(200)
def test_a_flushed_server_is_told_of_and_works_again(trial: Trial) -> None:
    total = trial.scale(MESSAGES)
    with Server(trial.folder / "server") as server:
        fleet = trial.fleet(url=server.url, durability="always")
        [worker] = fleet.start("alpha")
        with trial.messages(fleet, total, body={"ms": SLOW_MS}):
            pass
        server.call("FLUSHALL")
        wait_until(lambda: "THE DATA ARE NOT THOSE OF BEFORE" in fleet.log, what="a loud worker", timeout_s=AGAIN_S)
        _works_again(trial, fleet, "after")
        done = fleet.call("audit", "--against", str(_ids(trial)))
        print(done.stdout)
        _line(done, "FLUSHALL")
        named = fleet.call("audit", "--against", str(_ids(trial)), "--json").stdout
        missing = [fate.key for fate in Book.read(trial.oracle).fates.values() if fate.id and fate.id not in named]
        doctor = fleet.call("doctor")
        _line(doctor, "that those of before were gone")
        assert done.returncode == UNACCOUNTED
        assert worker.alive
        trial.report(
            None,
            [Target("lost and not named by the audit", len(missing), 0)],
            load=f"{total} messages, then FLUSHALL",
            counts={"accepted": total, "not named": len(missing)},
        )


@pytest.mark.fault("F34b", "the journal, an inbox and a queue deleted")
@pytest.mark.timeout(200)
def test_deleted_keys_are_told_of_and_nothing_hangs(trial: Trial) -> None:
    total = trial.scale(MESSAGES)
    with Server(trial.folder / "server") as server:
        fleet = trial.fleet(url=server.url, durability="always")
        [worker] = fleet.start("alpha")
        keys = fleet.client.store.keys
        with trial.messages(fleet, total, body={"ms": SLOW_MS}):
            pass
        queue = [key for key in fleet.client.store.client.scan_iter("agent.alpha*") if not key.endswith("wake")]
        server.call("DEL", *queue)
        verdict = trial.judge(fleet, timeout_s=120)
        worker.freeze()
        with trial.messages(fleet, total, body={"ms": SLOW_MS}, name="gone"):
            pass
        server.call("DEL", keys.inbox("alpha"), keys.journal)
        audit = fleet.call("audit")
        print(audit.stdout)
        _line(audit, "is pending, in no inbox, and nothing will bring it there")
        assert audit.returncode == UNACCOUNTED
        worker.thaw()
        _works_again(trial, fleet, "after")
        trial.report(
            verdict,
            [Target("lost by the deleted queue", verdict.counts["lost"], 0)],
            load=f"{total} messages whose queue is deleted, {total} whose inbox is",
        )


@pytest.mark.fault("F34c", "the wrong database")
@pytest.mark.timeout(200)
def test_the_wrong_database_is_told_of(trial: Trial) -> None:
    total = trial.scale(MESSAGES)
    with Server(trial.folder / "server", tcp=True) as server:
        fleet = trial.fleet(url=server.url, durability="always")
        fleet.start("alpha")
        with trial.messages(fleet, total):
            pass
        verdict = trial.judge(fleet)
        fleet.environment["ORCHESTRATOR_URL"] = server.url.removesuffix("/0") + "/1"
        sent, audit = fleet.call("send", "alpha", "hello"), fleet.call("audit", "--against", str(_ids(trial)))
        print(sent.stderr, audit.stdout)
        assert sent.returncode == NOT_FOUND
        assert sent.stderr.startswith("no agent 'alpha'; registered: none\n")
        _line(audit, "LOST")
        assert audit.returncode == UNACCOUNTED
        trial.report(verdict, [Target("lost", verdict.counts["lost"], 0)], load=f"{total} messages in the right one")


@pytest.mark.fault("F34d", "two teams in one database, with prefixes of their own and agents of the same name")
@pytest.mark.timeout(200)
def test_two_teams_in_one_database_do_not_hear_one_another(trial: Trial) -> None:
    total = trial.scale(MESSAGES)
    with Server(trial.folder / "server") as server:
        fleets = {team: trial.fleet(url=server.url, durability="always", prefix=f"{team}:") for team in ("a", "b")}
        workers = {prefix: fleet.start("alpha") for prefix, fleet in fleets.items()}
        senders = [trial.messages(fleet, total, name=prefix, rate=RATE) for prefix, fleet in fleets.items()]
        with senders[0], senders[1]:
            pass
        wait_until(lambda: trial.count("end") >= 2 * total, what="all messages", timeout_s=90, every_s=0.5)
        book = Book.read(trial.oracle)
        pids = {prefix: {pid for one in team for pid in one.pids()} for prefix, team in workers.items()}
        strangers = [one.key for one in book.tries if one.pid not in pids[one.key.partition("-")[0]]]
        firsts = [found[0].start_s - book.fates[key].tried_s for (key, _), found in book.tries_of.items()]
        trial.report(
            None,
            [
                Target("handled by the other team", len(strangers), 0),
                Target("messages handled", len(firsts), 2 * total, at_least=True),
                Target("the slowest message", round(max(firsts), 1), 15, "s", timing=True),
            ],
            load=f"2 teams, {total} messages each",
            counts={"accepted": 2 * total, "ok": len(firsts)},
        )
