"""F07: the server is killed and stays away for a while, again and again, while messages are sent and handled."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.server_load import LOAD, Load
from tests.faults.servers import Server

KILLS = max(2, round(5 * LOAD))
DOWN_S = 2.0
RATE = 50  # messages a second
MESSAGES = round(10_000 * LOAD)


@pytest.mark.timeout(400)
def test_killed_servers(tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    ended: list[float] = []
    between_s = MESSAGES / RATE / (KILLS + 1)
    with (
        Server(tmp_path / "server") as server,
        Load(tmp_path / "load", rate=RATE, seed=seed, url=server.url, durability="always") as load,
    ):
        load.start_worker()
        load.start_worker()
        load.send(MESSAGES)
        for _ in range(KILLS):
            time.sleep(between_s * chance.uniform(0.4, 0.9))  # the moment of the kill is what is drawn
            server.kill()
            time.sleep(DOWN_S)
            server.start()
            ended.append(time.time())
        load.wait_until_sent(timeout_s=MESSAGES / RATE + 60)
        verdict = load.judge(faults_ended=ended)
        assert load.workers_alive()
    print(f"{KILLS} kills: {verdict}")
    verdict.check()
    assert verdict.indeterminate > 0, "the faults met no send"
    assert verdict.attempted == MESSAGES
    assert min(verdict.recovered_s) >= 0
    assert max(verdict.recovered_s) <= 15
