"""Reading what happens for as long as it takes: a server that goes away is waited for, and the reading goes on behind
what was read last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from orchestrator.cli.output import say
from orchestrator.cli.text import clock
from orchestrator.client import Client
from orchestrator.errors import StoreUnavailable

AGAIN_S = 1.0  # between two looks whether the server is back


class Entry(Protocol):
    """Something with a position."""

    @property
    def id(self) -> str: ...


E = TypeVar("E", bound=Entry)
Tell = Callable[[str | None], None]


def read_on(client: Client, read: Callable[[str], Iterator[E]], after: str, tell: Tell) -> Iterator[E]:
    """What `read` gives behind a position, to its end, however often the server goes away meanwhile.

    Args:
        tell: is told once why the server does not answer, and None when it does again.
    """
    while True:
        try:
            for entry in read(after):
                yield entry
                after = entry.id
            return
        except StoreUnavailable as error:
            tell(error.message)
        _wait_for_server(client)
        tell(None)


def say_away(reason: str | None) -> None:
    """As a line on standard error."""
    now = clock(int(time.time() * 1000))
    say(f"{now} the server answers again" if reason is None else f"{now} {reason.rstrip('.')}; trying again")


def _wait_for_server(client: Client) -> None:
    while True:
        time.sleep(AGAIN_S)
        try:
            with client.asking():
                client.store.client.ping()
            return
        except StoreUnavailable:
            continue
