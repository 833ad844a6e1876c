"""F07: the server is killed and stays away for a while, again and again, while messages are sent and handled."""

from __future__ import annotations

import time

import pytest

from tests.faults.servers import Server
from tests.faults.trial import Target, Trial

KILLS = 5
DOWN_S = 2.0
RATE = 50.0  # messages a second
MESSAGES = 10_000
RECOVERY_S = 15.0


@pytest.mark.fault("F07", "Redis `kill -9`, 2 s down", star=True)
@pytest.mark.timeout(600)
def test_no_message_is_lost_when_the_server_is_killed(trial: Trial) -> None:
    total, kills = trial.scale(MESSAGES), max(2, trial.scale(KILLS))
    between_s = total / RATE / (kills + 1)
    with Server(trial.folder / "server") as server:
        fleet = trial.fleet(url=server.url, durability="always")
        fleet.start("alpha", each=2, concurrency=2)
        with trial.messages(fleet, total, rate=RATE, insists=True):
            for _ in range(kills):
                time.sleep(between_s * trial.chance.uniform(0.4, 0.9))  # the moment of the kill is what is drawn
                fleet.note("fault", "server")
                server.kill()
                time.sleep(DOWN_S)
                server.start()
                fleet.note("healed", "server")
        verdict = trial.judge(fleet, timeout_s=120)
        longest = verdict.recovery["recovery_s"]["max"]
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("accepted", verdict.counts["accepted"], total, at_least=True),
                Target("recovery max", longest, RECOVERY_S, "s", timing=True),
            ],
            load=f"{total} messages, {RATE:g} a second, 2 workers x 2, {kills} kills, {DOWN_S:g} s down",
            counts={"kills": kills},
        )
