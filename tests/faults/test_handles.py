"""F32: the server takes no more clients, workers have few file handles; and nothing leaks in a thousand connections."""

from __future__ import annotations

import os
import time
from contextlib import suppress

import pytest
import redis

from orchestrator import Client, Settings
from orchestrator.store.connection import leave
from tests.faults.fleet import Fleet
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

CLIENTS = 20  # `maxclients`: enough for one worker; the crowd takes what it leaves
FILES = 64  # `ulimit -n` of a worker
COMMANDS = 26
FULL_S = 20.0
CONNECTS = 1000
RATE = 5.0
UNAVAILABLE = 4  # exit code


class Crowd:
    """Takes every connection that the server still gives."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._clients: list[redis.Redis] = []

    def __len__(self) -> int:
        return len(self._clients)

    def fill(self) -> None:
        with suppress(redis.ConnectionError):
            while True:
                client = self._server.client()
                self._clients.append(client)
                client.ping()

    def leave(self) -> None:
        for client in self._clients:
            client.close()


@pytest.mark.fault("F32", "`maxclients` reached, workers with `ulimit -n 64`")
@pytest.mark.timeout(300)
def test_a_server_without_room_for_clients_says_so_and_work_goes_on_after(trial: Trial) -> None:
    commands = max(4, trial.scale(COMMANDS))
    with Server(trial.folder / "server", maxclients=str(CLIENTS)) as server, server.client() as beside:
        fleet = trial.fleet(url=server.url, durability="always")
        workers = fleet.start("alpha", concurrency=1, before=("prlimit", f"--nofile={FILES}"))
        mains = [worker.pids("main") for worker in workers]
        crowd = Crowd(server)
        sender = trial.messages(fleet, 1_000_000, rate=RATE, insists=True)
        with sender:
            wait_until(lambda: trial.count("end") >= RATE, what="the first messages", timeout_s=60, every_s=0.1)
            beside.ping()  # its place is taken before
            fleet.note("fault", "crowd")
            crowd.fill()
            beside.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            beside.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            until_s, refusals = time.monotonic() + FULL_S, 0
            while time.monotonic() < until_s or refusals < commands:
                crowd.fill()
                refusals += _refused(fleet)
            fleet.note("healed", "crowd")
            crowd.leave()
            accepted = trial.count("accepted")
            wait_until(lambda: trial.count("accepted") > accepted + RATE, what="sends", timeout_s=60, every_s=0.1)
            sender.stop()
        verdict = trial.judge(fleet, timeout_s=90)
        ended = sum(worker.pids("main") != pids for worker, pids in zip(workers, mains, strict=True))
        files, clients = _leak(server, trial.scale(CONNECTS))
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("workers that ended", ended, 0),
                Target("recovery max", verdict.recovery["recovery_s"]["max"], 15, "s", timing=True),
                Target("file handles leaked", files, 0),
                Target("connections leaked", clients, 0),
            ],
            load=f"{CLIENTS} clients at most, {len(crowd)} of them others; {trial.scale(CONNECTS)} clients one by one",
            counts={"commands refused": refusals},
        )


def _refused(fleet: Fleet) -> bool:
    """One command; whether it was refused, in one line and with its exit code."""
    done = fleet.call("runs")
    assert done.returncode in (0, UNAVAILABLE), done
    assert len(done.stderr.strip().splitlines()) <= 1, done.stderr
    return done.returncode == UNAVAILABLE


def _leak(server: Server, times: int) -> tuple[int, int]:
    """File handles of this process, and clients of the server, that are left after so many clients came and went."""

    def now() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), int(server.call("INFO", "clients")["connected_clients"])

    settings = Settings(url=server.url, prefix="leak:")
    _visit(settings)
    before = now()
    for _ in range(times):
        _visit(settings)
    after = now()
    return max(0, after[0] - before[0]), max(0, after[1] - before[1])


def _visit(settings: Settings) -> None:
    with Client(settings) as client:
        client.agents()
        client.blocking.ping()
    leave(client.url)
