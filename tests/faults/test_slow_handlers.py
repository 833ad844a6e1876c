"""F19: handlers that take six times as long as a lease: they wait, block the event loop, hold the interpreter in C."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.faults.agents import ONE
from tests.faults.trial import Target, Trial

TASKS = 50  # of each kind
LEASE_S = 1.0
SLOW_MS = 6000
WORKERS = 2

SLEEP = {"ms": SLOW_MS}
HOLD = {"kind": "hold"}  # as long


@pytest.mark.fault("F19", "slow handlers, 6 x the lease; a blocked event loop; the interpreter held in C")
@pytest.mark.timeout(400)
def test_no_slow_handler_is_taken_for_dead(trial: Trial) -> None:
    total = trial.scale(TASKS)
    fleet = trial.fleet(lease_s=LEASE_S)
    fleet.start("alpha", each=WORKERS, concurrency=8)
    fleet.start("beta", each=WORKERS, concurrency=8, pool="threads")
    blocks = {"message_type": "request"}  # of which the handler is a coroutine
    with ExitStack() as all_of:
        for sender in (
            trial.messages(fleet, total, name="alpha-sleep", body=SLEEP),
            trial.messages(fleet, total, name="alpha-block", body=SLEEP, options=blocks),
            trial.messages(fleet, total, name="alpha-hold", body=HOLD),
            trial.runs(fleet, total, name="step-sleep", workflow=ONE, inputs=SLEEP),
            trial.runs(fleet, total, name="step-hold", workflow=ONE, inputs=HOLD),
            trial.messages(fleet, total, name="beta-sleep", to=("beta",), body=SLEEP),
            trial.messages(fleet, total, name="beta-block", to=("beta",), body=SLEEP, options=blocks),
        ):
            all_of.enter_context(sender)
    verdict = trial.judge(fleet, timeout_s=60 + total * SLOW_MS / 1000, steps=("only",))
    trial.report(
        verdict,
        [
            Target("extra attempts", verdict.counts["extra_attempts"], 0),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{verdict.counts['attempted']} messages and steps of {SLOW_MS / 1000:g} s, lease {LEASE_S:g} s,"
        " processes and threads",
        about="Not with threads: a handler there that holds the interpreter also holds the heartbeat.",
    )
