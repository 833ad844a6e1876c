"""Supervisors with small children of their own, in a process of its own each: real forks, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
CHILDREN = """
import os, signal, subprocess, sys, time
from orchestrator.runtime.launcher import Launcher
from orchestrator.runtime.supervisor import Supervisor

def start(name):
    if name == "short":
        return 3
    if name == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    os.write(2, f"child {name} {os.getpid()} {helper.pid}\\n".encode())  # one write: lines of two children do not mix
    while True:
        time.sleep(600)
"""


class Family:
    """A process that supervises, and the processes its children named."""

    def __init__(self, body: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILDREN + body], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        self.pids: list[int] = []

    def wait_for(self, name: str) -> list[int]:
        """The child of that name and its helper."""
        assert self.process.stderr
        for line in self.process.stderr:
            if line.startswith(f"child {name} "):
                found = [int(word) for word in line.split()[2:4]]
                self.pids += found
                return found
        raise AssertionError(f"{name} never started")

    def wait_until_gone(self, timeout_s: float = 8) -> None:
        wait_until(lambda: not any(map(alive, self.pids)), what=f"the end of {self.pids}", timeout_s=timeout_s)


@pytest.fixture
def family() -> Iterator[list[Family]]:
    made: list[Family] = []
    yield made
    for one in made:
        one.process.kill()
        one.process.communicate()
        for pid in filter(alive, one.pids):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def supervise(family: list[Family], body: str) -> Family:
    family.append(Family(body))
    return family[-1]


def test_sigterm_stops_children_with_what_they_started_and_ends_with_0(family: list[Family]) -> None:
    one = supervise(family, "sys.exit(Supervisor(start).run(['a']))")
    one.wait_for("a")
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(5) == 0
    one.wait_until_gone(2)


def test_child_that_is_killed_is_started_again_and_its_helpers_end(family: list[Family]) -> None:
    one = supervise(family, "Supervisor(start).run(['a'])")
    [child, helper] = one.wait_for("a")
    os.kill(child, signal.SIGKILL)
    [again, _] = one.wait_for("a")
    assert again != child
    assert not alive(helper)


def test_second_ctrl_c_does_not_wait_and_kills_what_ignores_it(family: list[Family]) -> None:
    one = supervise(family, "sys.exit(Supervisor(start).run(['deaf']))")
    one.wait_for("deaf")
    one.process.send_signal(signal.SIGINT)
    time.sleep(0.3)  # nothing to wait for: the first signal must be seen before the second is sent
    assert one.process.poll() is None
    one.process.send_signal(signal.SIGINT)
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(6) == 0
    one.wait_until_gone(1)


@pytest.mark.parametrize("victim", ["command", "supervisor"])
def test_nothing_survives_a_command_or_a_supervisor_that_is_killed(family: list[Family], victim: str) -> None:
    body = """
launcher = Launcher(start, grace_s=1)
launcher.start(["a", "deaf"])
print("child", "supervisor", launcher._pid, 0, file=sys.stderr, flush=True)
while True:
    time.sleep(600)
"""
    one = supervise(family, body)
    [supervisor, _] = one.wait_for("supervisor")
    one.pids.remove(0)
    one.wait_for("deaf")
    os.kill(one.process.pid if victim == "command" else supervisor, signal.SIGKILL)
    one.wait_until_gone()


def test_launcher_stops_what_it_started_when_it_is_left(family: list[Family]) -> None:
    body = """
with Launcher(start, grace_s=1) as launcher:
    launcher.start(["a"])
    launcher.start(["a", "short"])
    assert launcher.started == ["a", "short"]
    assert launcher.alive
    time.sleep(0.5)
"""
    one = supervise(family, body)
    one.wait_for("a")
    assert one.process.wait(6) == 0
    one.wait_until_gone(1)
