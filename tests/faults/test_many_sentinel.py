"""F17: the master of a Sentinel group is killed. Work goes on by itself; what it costs is measured, not promised."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator import Client, Settings
from orchestrator.errors import OrchestratorError
from orchestrator.store.connection import leave
from tests.faults.sentinel import Group, group
from tests.faults.trial import Target, Trial

pytestmark = pytest.mark.timeout(900)

RATE = 100.0  # messages a second while the loss is measured
BEFORE_S = 2.0
AFTER_S = 1.0


@pytest.mark.fault("F17w", "the master of a Sentinel group is killed under load")
def test_work_goes_on_by_itself_after_a_failover(trial: Trial) -> None:
    total = trial.scale(1000)
    with group(trial.folder / "group") as servers:
        fleet = trial.fleet(url=servers.url, lease_s=5.0)
        fleet.start("alpha", "beta", "gamma", concurrency=2)
        messages = trial.messages(fleet, total, to=("alpha", "beta"), body={"ms": 20}, rate=20.0, insists=True)
        with messages, trial.runs(fleet, total // 5, rate=4.0, insists=True):
            time.sleep(1)  # some of it is under way
            fleet.note("fault", "master")
            killed = servers.kill_master()
            fleet.note("healed", "master")  # nobody mends anything: what follows is all there is
            servers.wait_for_another_master(killed)
        verdict = trial.judge(fleet, timeout_s=60)
        recovery = verdict.recovery["recovery_s"]["max"]
        asked = {name: verdict.counts[name] for name in ("attempted", "accepted", "ok")}
        trial.report(
            None,
            [
                Target("goes on after", recovery, 15, "s", timing=True),
                Target("done", verdict.counts["ok"], 0.99 * verdict.counts["accepted"], at_least=True),
            ],
            counts={**asked, "missing": verdict.counts["lost"]},
            load=f"{total} messages at 20/s and {total // 5} runs, 1 kill of the master",
        )


@pytest.mark.fault("F17", "messages accepted by a master that is killed, and unknown to the next one", star=True)
def test_the_loss_of_a_failover_is_measured(trial: Trial) -> None:
    trials = trial.scale(20)
    lost = {n: [_failover(trial.folder / f"{n}-{i}", n) for i in range(trials)] for n in (0, 1)}
    counts = {
        f"{what}_min_replicas_{n}": sum(found[at] for found in lost[n])
        for n in lost for at, what in enumerate(("accepted", "missing"))
    }  # fmt: skip
    counts |= {f"trials_with_loss_min_replicas_{n}": sum(bool(found[1]) for found in lost[n]) for n in lost}
    trial.report(
        None, [], counts={"trials": trials, **counts},
        load=f"2 x {trials} kills of the master at {RATE:g} messages/s",
        about="Measured, not promised: replication is asynchronous",
    )  # fmt: skip


def _failover(folder: Path, min_replicas: int) -> tuple[int, int]:
    """(messages accepted, those of them that the next master does not know)."""
    with group(folder, min_replicas=min_replicas) as servers:
        settings = Settings(url=servers.url, home=folder / "home", deadline_s=1.0)
        client = Client(settings)
        try:
            client.office.directory.register("reader")
            with ThreadPoolExecutor(1) as thread:
                sending = thread.submit(_send, client, BEFORE_S + AFTER_S)
                time.sleep(BEFORE_S)  # the kill comes into the middle of the sending
                killed = servers.kill_master()
                accepted = sending.result()
            servers.wait_for_another_master(killed)
            missing = _missing(servers, client, accepted)
        finally:
            client.close()
            leave(settings.url or "")
    return len(accepted), missing


def _send(client: Client, seconds: float) -> list[str]:
    """The ids of what was accepted."""
    accepted: list[str] = []
    began_s = time.monotonic()
    sent = 0
    while (late_s := time.monotonic() - began_s) < seconds:
        if sent > late_s * RATE:
            time.sleep(0.001)
            continue
        sent += 1
        try:
            accepted.append(client.send("reader", "x").message_id)
        except OrchestratorError:
            pass
    return accepted


def _missing(servers: Group, client: Client, accepted: list[str]) -> int:
    with servers.client(servers.master) as redis:
        return sum(not redis.exists(client.store.keys.message(message_id)) for message_id in accepted)
