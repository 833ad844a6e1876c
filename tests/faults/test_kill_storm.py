"""F06: every two seconds a random worker is told to stop, killed or frozen, while runs and messages go through."""

from __future__ import annotations

import pytest

from tests.faults.agents import CHAIN_STEPS, NAMES, chain_outputs
from tests.faults.fleet import Storm
from tests.faults.trial import Target, Trial

ITEMS = 3000  # runs, and as many messages
EACH, CONCURRENCY = 2, 2
RATE = 8.0  # of each a second
HANDLER_MS = 200
BLOW_EVERY_S = 2.0
FREEZE_S = 5.0


@pytest.mark.fault("F06", "kill storm: every 2 s a random worker by TERM, KILL or STOP for 5 s", star=True)
@pytest.mark.timeout(1500)
def test_every_run_and_message_ends_right_in_a_storm_of_kills(trial: Trial) -> None:
    total = trial.scale(ITEMS)
    fleet = trial.fleet()
    fleet.start(*NAMES, each=EACH, concurrency=CONCURRENCY)
    storm = Storm(
        fleet, trial.chance, every_s=BLOW_EVERY_S, acts=("term", "kill", "stop"), freeze_s=FREEZE_S,
        concurrency=CONCURRENCY,
    )  # fmt: skip
    runs = trial.runs(fleet, total, inputs={"ms": HANDLER_MS}, rate=RATE, insists=True)
    messages = trial.messages(fleet, total, to=NAMES, body={"ms": HANDLER_MS}, rate=RATE, insists=True)
    with storm, runs, messages:
        pass
    verdict = trial.judge(fleet, timeout_s=180, outputs=chain_outputs, steps=CHAIN_STEPS)
    takeover = verdict.recovery.get("takeover_s", {"max": 0.0})
    wrong = 2 * total - verdict.counts["ok"]
    trial.report(
        verdict,
        [
            Target("wrong", wrong, 0),
            Target("left behind", sum(fleet.left_behind().values()), 0),
            Target("takeover max", takeover["max"], 15, "s", timing=True),
        ],
        about="A worker is hurt while another one of its agent is present.",
        load=f"{total} runs of 3 steps and {total} messages, {len(NAMES)} agents x {EACH} workers x {CONCURRENCY}",
        counts={"runs": total, "messages": total, "wrong": wrong, **storm.counts},
    )
