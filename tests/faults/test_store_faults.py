"""F37: now and then a script of a worker fails before it is sent, fails after it was done, or is slow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.agents import CHAIN_STEPS, NAMES, chain_outputs
from tests.faults.store_faults import environment
from tests.faults.trial import Target, Trial

ROOT = Path(__file__).parents[2]
#: The acceptance tests, without those that compare each attempt of a run with the simulation, where nothing is lost,
#: and those that count what each call of a script costs.
SUITE = (
    "tests/acceptance", "--ignore=tests/acceptance/test_random_graphs.py", "--ignore=tests/acceptance/test_costs.py",
)  # fmt: skip


@pytest.mark.fault("F37", "1 % of the workers' scripts fail before, 1 % after they were done, 1 % are slow")
@pytest.mark.every_commit
@pytest.mark.timeout(300)
def test_runs_and_messages_end_right_with_store_faults(trial: Trial) -> None:
    total = trial.scale(1000)
    fleet = trial.fleet(lease_s=3.0)
    fleet.start(*NAMES, environment=environment(trial.seed))
    with (
        trial.runs(fleet, total, rate=20, inputs={"ms": 10}),
        trial.messages(fleet, total, rate=20, to=NAMES, body={"ms": 10}),
    ):
        pass
    verdict = trial.judge(fleet, timeout_s=120, outputs=chain_outputs, steps=CHAIN_STEPS)
    trial.report(
        verdict,
        [Target("lost", verdict.counts["lost"], 0), Target("left behind", sum(fleet.left_behind().values()), 0)],
        load=f"{total} runs of 3 steps and {total} messages, {len(NAMES)} workers x 2",
    )


@pytest.mark.fault("F37suite", "the same faults under the acceptance tests")
@pytest.mark.timeout(1000)
def test_the_suite_passes_with_store_faults(trial: Trial) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITE],
        cwd=ROOT, env={**os.environ, **environment(trial.seed)}, capture_output=True, text=True, check=False,
        timeout=900,
    )  # fmt: skip
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    print(done.stdout[-5000:])
    trial.report(
        None, [Target("tests that fail", len(failed) + (done.returncode != 0 and not failed), 0)],
        load=done.stdout.splitlines()[-1].strip("= "),
    )  # fmt: skip
