"""F09: an append-only file with a torn end costs nothing; one that is damaged in the middle is a clear error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from orchestrator.errors import ServerNotStarted
from orchestrator.store import embedded
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

TORN_BYTES = range(1, 41)
RATE = 100.0  # messages a second
UNTIL_STOPPED = 1_000_000


@pytest.mark.fault("F09", "torn end of the append-only file")
@pytest.mark.timeout(300)
def test_a_torn_end_loses_nothing_that_was_accepted(trial: Trial) -> None:
    sizes = trial.chance.sample(TORN_BYTES, max(4, trial.scale(len(TORN_BYTES))))
    with Server(trial.folder / "server", shim=True) as server:
        fleet = trial.fleet(url=server.url, durability="always", lease_s=2.0)
        fleet.start("alpha", concurrency=2)
        with trial.messages(fleet, UNTIL_STOPPED, rate=RATE, insists=True) as sender:
            for size in sizes:
                time.sleep(trial.chance.uniform(0.2, 0.6))  # the moment of the cut is what is drawn
                fleet.note("fault", "power")
                server.cut_power(torn_bytes=size)
                server.start()
                fleet.note("healed", "power")
            time.sleep(0.5)
            sender.stop()
        verdict = trial.judge(fleet, timeout_s=60)
        mended = server.log.read_text(errors="replace").count("loaded anyway because aof-load-truncated is enabled")
        trial.report(
            verdict,
            [Target("lost", verdict.counts["lost"], 0), Target("torn ends met", mended, len(sizes) - 1, at_least=True)],
            load=f"{len(sizes)} torn ends of 1 to 40 bytes, {RATE:g} messages a second",
            about="A byte flipped in the middle: the server refuses; the error and `doctor` say what to do in a line.",
        )


def test_a_byte_flipped_in_the_middle_is_explained_and_can_be_mended(tmp_path: Path) -> None:
    home = tmp_path / "state"
    with embedded.acquire(home) as server, redis.Redis(unix_socket_path=str(server.socket_path)) as client:
        for name in ("first", "middle", "last"):
            client.set(name, "1")
    wait_until(lambda: embedded.status(home).guard_pid is None, what="the end of the server", timeout_s=20)
    (aof,) = (home / "data" / "appendonlydir").glob("*.incr.aof")
    data = bytearray(aof.read_bytes())
    data[data.index(b"middle") - 4] ^= 0xFF  # the sign before the length of the key
    aof.write_bytes(data)

    with pytest.raises(ServerNotStarted, match=rf"append-only file {aof.name} is damaged"):
        embedded.acquire(home)
    environment = {**os.environ, "ORCHESTRATOR_HOME": str(home)}
    command = [sys.executable, "-m", "orchestrator", "doctor", "--json"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 4
    [found] = [check for check in json.loads(told.stdout)["checks"] if check["check"] == "server"]
    assert found["status"] == "fail"
    assert f"{aof.name} is damaged" in found["detail"]
    assert "\n" not in found["detail"]

    mend = found["detail"].partition("with: (")[2][:-1]
    subprocess.run(["bash", "-c", mend], input=b"y\n", capture_output=True, check=True)
    with embedded.acquire(home) as server, redis.Redis(unix_socket_path=str(server.socket_path)) as client:
        assert client.mget("first", "middle", "last") == [b"1", None, None]
