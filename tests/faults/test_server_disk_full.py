"""F11: the disk is full for a while; the server is the embedded one, which its guard starts again."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.store import embedded
from tests.faults.server_load import LOAD, Load
from tests.waiting import wait_until

FULL_S = max(6.0, 20 * LOAD)
RATE = 20  # messages a second

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a file system")


class Disk:
    """A file system of 1 MiB."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    def fill(self) -> None:
        """Leave no byte."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass

    def grow(self) -> None:
        subprocess.run(["mount", "-o", "remount,size=32m", str(self.place)], check=True)


@contextmanager
def small_disk(place: Path) -> Iterator[Disk]:
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place)], check=True)
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("durability", ["always", "everysec"])
def test_full_disk(tmp_path: Path, durability: str) -> None:
    seed = random.randrange(1_000_000)
    home = tmp_path / "state"
    with small_disk(home / "data") as disk:
        with Load(tmp_path / "load", rate=RATE, seed=seed, home=home, durability=durability) as load:
            load.start_worker()
            load.send()
            wait_until(lambda: load.count("effect") >= 2 * RATE, what="the first messages", timeout_s=20)
            disk.fill()
            load.wait_until_refused(timeout_s=20)
            time.sleep(FULL_S)  # how long the disk is full is what is tested
            accepted = load.count("accepted")
            disk.grow()
            healed = time.time()
            load.wait_until_accepted_after(healed, timeout_s=30)
            wait_until(lambda: load.count("effect") > accepted, what="handlers to go on", timeout_s=30)
            load.stop_sending()
            verdict = load.judge(faults_ended=[healed])
            assert load.workers_alive()
            assert "starts again in" not in load.log, "a worker has ended"
        wait_until(lambda: embedded.status(home).guard_pid is None, what="the end of the server", timeout_s=20)
    print(f"full for {FULL_S:g} s: {verdict}")
    verdict.check()
    assert verdict.slowest_refusal_s <= 1
    assert 0 <= verdict.recovered_s[0] <= 15
