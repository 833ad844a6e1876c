"""Following a run through an outage: a server that goes away is asked until it answers again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from orchestrator.cli.output import say
from orchestrator.cli.text import clock
from orchestrator.errors import StoreUnavailable
from orchestrator.records import Event
from orchestrator.run_handle import RunHandle

ASK_AGAIN_S = 1.0


def follow_patiently(handle: RunHandle, tell: Callable[[StoreUnavailable | None], None]) -> Iterator[Event]:
    """What happens in a run until it ends, each event once, however often the server goes away meanwhile.

    Args:
        tell: is called with the error once when the server stops to answer, and with None when it answers again.
    Raises:
        RunNotFound: the server came back without the run.
    """
    after = "0"
    while True:
        try:
            for event in handle.events(follow=True, after=after):
                after = event.id
                yield event
            return
        except StoreUnavailable as error:
            tell(error)
        _wait_for_answer(handle)
        tell(None)


def tell_outage(error: StoreUnavailable | None) -> None:
    """One line on standard error when the server goes away, and one when it is back."""
    what = f"the server does not answer; trying again: {error.message}" if error else "the server answers again"
    say(f"{clock(int(time.time() * 1000))} {what}")


def _wait_for_answer(handle: RunHandle) -> None:
    while True:
        time.sleep(ASK_AGAIN_S)
        try:
            handle.record()
            return
        except StoreUnavailable:
            continue
