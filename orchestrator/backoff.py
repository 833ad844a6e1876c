"""How long to wait before the next attempt. Pure arithmetic, no clock and no state."""

from __future__ import annotations

import random
from typing import Literal

from orchestrator.messages import LONGEST_MS

Backoff = Literal["fixed", "linear", "exponential"]


def retry_delay_ms(
    failures: int,
    *,
    delay_ms: int,
    backoff: Backoff = "exponential",
    max_delay_ms: int | None = None,
    jitter: bool = False,
    floor_ms: int = 0,
) -> int:
    """Milliseconds to wait after the given number of failed attempts.

    Args:
        failures: failed attempts so far; >= 1.
        delay_ms: the delay after the first failure.
        backoff: `fixed` d, d, d; `linear` d, 2d, 3d; `exponential` d, 2d, 4d.
        jitter: take a random share of the delay, from half of it to the whole ("equal jitter":
            Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
        floor_ms: what the handler asked for with `RetryLater(after_s=...)`; never less than this.
    """
    factor: int = {"fixed": 1, "linear": failures, "exponential": 2 ** min(failures - 1, 62)}[backoff]
    wait = delay_ms * factor
    if max_delay_ms is not None:
        wait = min(wait, max_delay_ms)
    if jitter:
        wait = round(wait * random.uniform(0.5, 1.0))
    return min(max(wait, floor_ms), LONGEST_MS)
