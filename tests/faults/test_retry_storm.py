"""F30: what all handlers depend on is away for a minute: their retries must not bury it, nor when it is back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import pytest

from orchestrator import DeliveryOptions
from tests.faults.oracle import Book
from tests.faults.trial import Target, Trial

MESSAGES = 500
SENT_IN_S = 10.0
DOWN_S = 60.0
DELAY_S = 5.0
WINDOW_S = 5.0  # over which a rate is taken
CONCURRENCY = 4
RETRIES = DeliveryOptions(max_retries=8, retry_delay_seconds=DELAY_S)


@pytest.mark.fault("F30", "retry storm: a dependency is down for 60 s")
@pytest.mark.timeout(400)
def test_retries_do_not_bury_a_dependency_that_is_away(trial: Trial) -> None:
    total = trial.scale(MESSAGES)
    normal = total / SENT_IN_S
    fleet = trial.fleet()
    fleet.start("alpha", concurrency=CONCURRENCY)
    dependency = trial.folder / "dependency"
    body = {"needs": str(dependency)}
    fleet.note("fault", "dependency")
    down_s = time.monotonic()
    with trial.messages(fleet, total, body=body, rate=normal, options={"delivery_options": RETRIES}):
        pass
    time.sleep(max(0.0, down_s + DOWN_S - time.monotonic()))  # how long it is down is what is tested
    dependency.touch()
    fleet.note("healed", "dependency")
    up_s = time.monotonic()
    verdict = trial.judge(fleet, timeout_s=150)
    calls = [one.start_s for one in Book.read(trial.oracle).tries]
    down, up = [at for at in calls if at < up_s], [at for at in calls if at >= up_s]
    trial.report(
        verdict,
        [
            Target("lost", verdict.counts["lost"], 0),
            Target("highest rate while it is down", round(_most_a_second(down) / normal, 2), 2, "x normal"),
            Target("highest rate when it is back", round(_most_a_second(up) / normal, 2), 3, "x normal"),
        ],
        load=f"{total} messages in {SENT_IN_S:g} s, {DOWN_S:g} s down, first retry after {DELAY_S:g} s, doubled",
        counts={"calls while down": len(down), "calls when back": len(up)},
    )


def _most_a_second(times: Sequence[float]) -> float:
    """The rate of the busiest window."""
    return max(Counter(int(at / WINDOW_S) for at in times).values(), default=0) / WINDOW_S
