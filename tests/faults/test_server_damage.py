"""F09: an append-only file with a torn end costs nothing; one that is damaged in the middle is a clear error."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ServerNotStarted
from orchestrator.store import embedded
from tests.faults.server_load import LOAD, Load
from tests.faults.servers import Server
from tests.waiting import wait_until

TEARS = max(3, round(40 * LOAD))
RATE = 100  # messages a second


@pytest.mark.timeout(300)
def test_a_torn_end_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    """Every number of bytes from 1 to 40, at full load, of a write that was under way."""
    seed = random.randrange(1_000_000)
    sizes = random.Random(seed).sample(range(1, 41), TEARS)
    with (
        Server(tmp_path / "server", shim=True) as server,
        Load(tmp_path / "load", rate=RATE, seed=seed, url=server.url, durability="always") as load,
    ):
        load.start_worker()
        load.send()
        for size in sizes:
            before = load.count("accepted")
            wait_until(lambda before=before: load.count("accepted") > before + 20, what="sends", timeout_s=20)
            server.cut_power(torn_bytes=size)
            server.start()
        load.stop_sending()
        verdict = load.judge()
        log = server.log.read_text(errors="replace")
    print(f"torn ends of {sizes} bytes: {verdict}")
    verdict.check()
    assert log.count("loaded anyway because aof-load-truncated is enabled") >= TEARS - 1


def test_a_byte_flipped_in_the_middle_is_explained_and_can_be_mended(tmp_path: Path) -> None:
    home = tmp_path / "state"
    with Load(tmp_path / "load", rate=RATE, home=home) as load:
        load.client.store.client.set("first", "1")
        load.client.store.client.set("middle", "2")
        load.client.store.client.set("last", "3")
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
    [server] = [check for check in json.loads(told.stdout)["checks"] if check["check"] == "server"]
    assert server["status"] == "fail"
    assert f"{aof.name} is damaged" in server["detail"]
    assert "\n" not in server["detail"]

    mend = server["detail"].partition("with: (")[2][:-1]
    subprocess.run(["bash", "-c", mend], input=b"y\n", capture_output=True, check=True)
    with embedded.acquire(home), Load(tmp_path / "again", rate=RATE, home=home) as load:
        assert load.client.store.client.mget("first", "middle", "last") == ["1", None, None]
