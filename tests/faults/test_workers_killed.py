"""F01: a worker and its pool die by `kill -9` in the middle of a handler, again and again."""

from __future__ import annotations

import pytest

from tests.faults.fleet import Storm
from tests.faults.trial import Target, Trial

WORKERS, CONCURRENCY = 2, 2
HANDLER_MS = 200
KILL_EVERY_S = 1.5
RATE = 10.0  # messages a second: half of what the workers can do while nobody dies


@pytest.mark.fault("F01", "worker and pool `kill -9` in mid-handler", star=True)
@pytest.mark.timeout(600)
def test_no_message_is_lost_when_workers_are_killed(trial: Trial) -> None:
    total = trial.scale(500)
    # A kill may hit one message again and again: none may die of it.
    fleet = trial.fleet(max_losses=1000)
    fleet.start("alpha", each=WORKERS, concurrency=CONCURRENCY)
    storm = Storm(fleet, trial.chance, every_s=KILL_EVERY_S, concurrency=CONCURRENCY)
    with storm, trial.messages(fleet, total, body={"ms": HANDLER_MS}, rate=RATE):
        pass
    verdict = trial.judge(fleet, timeout_s=120)
    kills, takeover = storm.counts["kill"], verdict.recovery.get("takeover_s", {"p95": 0.0, "max": 0.0})
    trial.report(
        verdict,
        [
            Target("lost", verdict.counts["lost"], 0),
            Target("takeover p95", takeover["p95"], 12, "s", timing=True),
            Target("takeover max", takeover["max"], 15, "s", timing=True),
            Target("extra attempts", verdict.counts["extra_attempts"], kills * CONCURRENCY),
        ],
        about="A worker is killed while another one is present.",
        load=f"{total} messages of {HANDLER_MS} ms, {WORKERS} workers x {CONCURRENCY}, {kills} kills",
        counts={"kills": kills},
    )
