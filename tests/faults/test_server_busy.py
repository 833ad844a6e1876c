"""F13: the server answers nobody for some seconds, fewer than a lease has."""

from __future__ import annotations

import time

import pytest

from tests.faults.servers import Server
from tests.faults.trial import Target, Trial

PAUSES = {
    "sleep": ("DEBUG", "SLEEP", 5),
    "script": ("EVAL", "local over = os.clock() + 4 while os.clock() < over do end return 1", 0),
}
TIMES = 4
RATE = 20.0  # messages a second
HANDLER_MS = 500
SLOTS = 20
LEASE_S = 20.0
BETWEEN_S = 2.0
RECOVERY_S = 5.0
UNTIL_STOPPED = 1_000_000


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "pause",
    [
        pytest.param("sleep", marks=pytest.mark.fault("F13", "Redis busy for 5 s")),
        pytest.param("script", marks=pytest.mark.fault("F13b", "Redis busy with a script for 4 s")),
    ],
)
def test_nothing_runs_again_because_the_server_is_busy(trial: Trial, pause: str) -> None:
    times = trial.scale(TIMES)
    with Server(trial.folder / "server", enable_debug_command="local") as server:
        fleet = trial.fleet(url=server.url, durability="always", lease_s=LEASE_S)
        fleet.start("alpha", concurrency=SLOTS, pool="threads")
        with trial.messages(fleet, UNTIL_STOPPED, body={"ms": HANDLER_MS}, rate=RATE, insists=True) as sender:
            for _ in range(times):
                time.sleep(BETWEEN_S)  # the handlers that a pause is to meet
                fleet.note("fault", "busy")
                with server.client(timeout_s=60) as client:
                    client.execute_command(*PAUSES[pause])
                fleet.note("healed", "busy")
            time.sleep(BETWEEN_S)
            sender.stop()
        verdict = trial.judge(fleet, timeout_s=60)
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("extra attempts", verdict.counts["extra_attempts"], 0),
                Target("recovery max", verdict.recovery["recovery_s"]["max"], RECOVERY_S, "s", timing=True),
            ],
            load=f"{times} pauses, {RATE:g} messages of {HANDLER_MS} ms a second, lease {LEASE_S:g} s",
        )
