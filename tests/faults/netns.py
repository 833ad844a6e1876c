"""Machines of one's own: network namespaces, each joined to this machine by a pair of veth whose link can be cut.

For root on Linux. A cut link swallows packets without a word, in both directions: what a pulled cable does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def possible() -> bool:
    """Whether namespaces can be made here."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    with suppress(subprocess.CalledProcessError), machines("probe"):
        return True
    return False


class Machine:
    """A namespace. `gateway` is the address of this machine as the namespace sees it.

    Args:
        number: of its network, 10.77.NUMBER.0/24.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = f"o{os.getpid()}{name}"
        self.gateway = f"10.77.{number}.1"
        self.before = ("ip", "netns", "exec", self.name)  # the words that make a command run there
        self._address = f"10.77.{number}.2"
        self._link = f"v{os.getpid()}{name[:5]}"

    def make(self) -> None:
        inner = f"{self._link}i"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", inner, "netns", self.name)
        _ip("addr", "add", f"{self.gateway}/24", "dev", self._link)
        _ip("link", "set", self._link, "up")
        _ip("-n", self.name, "addr", "add", f"{self._address}/24", "dev", inner)
        _ip("-n", self.name, "link", "set", inner, "up")
        _ip("-n", self.name, "link", "set", "lo", "up")

    def cut(self) -> None:
        """Pull the cable."""
        _ip("link", "set", self._link, "down")

    def heal(self) -> None:
        _ip("link", "set", self._link, "up")

    def remove(self) -> None:
        """The pair of veth goes with the namespace."""
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def machines(*names: str) -> Iterator[list[Machine]]:
    """Machines for the time of a `with`; names of at most five letters."""
    first = os.getpid() % 200
    made = [Machine(name, first + number) for number, name in enumerate(names)]
    try:
        for machine in made:
            machine.make()
        yield made
    finally:
        for machine in made:
            machine.remove()
