"""F08: the power goes, again and again, while messages are sent and handled."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.server_load import LOAD, Load
from tests.faults.servers import Server

CUTS = max(2, round(20 * LOAD))
RATE = 200  # messages a second
TORN_BYTES = 40


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_power_cuts(tmp_path: Path, fsync: str) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    cuts: list[float] = []
    ended: list[float] = []
    lost_bytes = 0
    with (
        Server(tmp_path / "server", shim=True, appendfsync=fsync) as server,
        Load(tmp_path / "load", rate=RATE, seed=seed, url=server.url, durability=fsync) as load,
    ):
        load.start_worker()
        load.send()
        for _ in range(CUTS):
            time.sleep(chance.uniform(0.3, 2.5))  # the moment of the cut is what is drawn
            cuts.append(time.time())
            lost_bytes += server.cut_power(torn_bytes=chance.randrange(TORN_BYTES + 1))
            server.start()
            ended.append(time.time())
        time.sleep(0.5)
        load.stop_sending()
        verdict = load.judge(faults_ended=ended)
        assert load.workers_alive()
    print(f"{CUTS} cuts, {lost_bytes} bytes were not synced: {verdict}")
    if fsync == "everysec":
        assert lost_bytes > 0
        assert all(any(cut - 2 <= at <= cut + 0.1 for cut in cuts) for at in verdict.lost.values()), verdict
        verdict.lost, verdict.doubled = {}, []
    verdict.check()
    assert max(verdict.recovered_s) <= 15
    assert min(verdict.recovered_s) >= 0
