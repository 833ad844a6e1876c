"""F13: the server answers nobody for some seconds, fewer than a lease has."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.server_load import LOAD, Load
from tests.faults.servers import Server
from tests.waiting import wait_until

PAUSES = {
    "sleep": ("DEBUG", "SLEEP", 5),
    "script": ("EVAL", "local over = os.clock() + 4 while os.clock() < over do end return 1", 0),
}
TIMES = max(1, round(4 * LOAD))
RATE = 20  # messages a second
WORK_S = 0.5
LEASE_S = 20.0


@pytest.mark.timeout(200)
@pytest.mark.parametrize("pause", PAUSES)
def test_busy_server(tmp_path: Path, pause: str) -> None:
    seed = random.randrange(1_000_000)
    ended: list[float] = []
    took: list[float] = []
    with (
        Server(tmp_path / "server", enable_debug_command="local") as server,
        Load(
            tmp_path / "load", rate=RATE, seed=seed, work_s=WORK_S, url=server.url, durability="always", lease_s=LEASE_S
        ) as load,
    ):
        load.start_worker(concurrency=20)
        load.send()
        for _ in range(TIMES):
            before = load.count("accepted")
            wait_until(lambda before=before: load.count("accepted") > before + RATE, what="sends", timeout_s=30)
            began = time.time()
            with server.client(timeout_s=30) as client:
                client.execute_command(*PAUSES[pause])
            ended.append(time.time())
            took.append(round(ended[-1] - began, 1))
        last = load.count("accepted")
        wait_until(lambda: load.count("accepted") > last + RATE, what="sends", timeout_s=30)
        load.stop_sending()
        verdict = load.judge(faults_ended=ended)
        assert load.workers_alive()
    print(f"busy for {took} s: {verdict}")
    assert min(took) >= 3
    assert max(took) < LEASE_S
    verdict.check()
    assert verdict.extra_attempts == 0, verdict
    assert min(verdict.recovered_s) >= 0
    assert max(verdict.recovered_s) <= 5
