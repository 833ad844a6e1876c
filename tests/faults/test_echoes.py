"""F23: every message of the broker comes two to five times, in another order."""

from __future__ import annotations

import time

import pytest

from tests.faults.agents import CHAIN_STEPS, NAMES, chain_outputs
from tests.faults.checker import Checker
from tests.faults.fleet import Fleet
from tests.faults.proxy import Echo
from tests.faults.trial import Target, Trial

MESSAGES, RUNS = 1000, 200
HANDLER_MS = 100  # some copies come while it runs, others when it is over
SETTLE_S = 240


@pytest.mark.fault("F23", "every doorbell 2 to 5 times, in random order")
@pytest.mark.timeout(600)
def test_a_message_that_comes_again_is_handled_once(trial: Trial) -> None:
    messages, runs = trial.scale(MESSAGES), trial.scale(RUNS)
    fleet = trial.fleet()
    fleet.start(*NAMES, concurrency=2)
    plain_s = work_off(fleet, trial, messages, runs, "plain")
    with Echo(fleet.client.url, seed=trial.seed) as echo:
        echoed_s = work_off(fleet, trial, messages, runs, "echoed")
    verdict = trial.judge(fleet, outputs=chain_outputs, steps=CHAIN_STEPS)
    trial.report(
        verdict,
        [
            Target("lost", verdict.counts["lost"], 0),
            Target("double effects", verdict.counts["duplicated_effects"], 0),
            Target("extra attempts", verdict.counts["extra_attempts"], 0),
            Target("copies", echo.pushed, messages + 3 * runs, at_least=True),
            Target("time of it all, beside the same without", echoed_s / plain_s, 2, "times", timing=True),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{messages} messages and {runs} runs of 3 steps of {HANDLER_MS} ms, once without and once with copies",
        counts={"copies": echo.pushed, "plain_s": round(plain_s, 1), "echoed_s": round(echoed_s, 1)},
    )


def work_off(fleet: Fleet, trial: Trial, messages: int, runs: int, name: str) -> float:
    """Seconds until all of it is over."""
    began_s = time.monotonic()
    with (
        trial.messages(fleet, messages, to=NAMES, name=f"m-{name}", body={"ms": HANDLER_MS}),
        trial.runs(fleet, runs, name=f"r-{name}", inputs={"ms": HANDLER_MS}),
    ):
        pass
    assert Checker(fleet.client, trial.oracle).settle(SETTLE_S)
    return time.monotonic() - began_s
