"""Random workflows on live workers: each attempt runs once, in an order its needs allow, and all ends as in `simulate`.

`GENERATED_RUNS=200` runs so many of them (`make generated`); by default there are few, because of the time.
"""

from __future__ import annotations

import os
import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from orchestrator import StepState
from orchestrator.testing import SimulatedRun
from tests.acceptance.generated import assert_lawful, assert_same, run_really, simulated
from tests.acceptance.random_graphs import Generated, workflows
from tests.acceptance.team import Team

RUNS = int(os.environ.get("GENERATED_RUNS", "40"))
SEEN: Counter[str] = Counter()
WRITTEN = (
    '"parallel"', '"switch"', '"default": true', '"loop"', '"delay"', '"foreach"', '"workflow"', '"for"', '"until": "2',
    '"signal"', '"on_timeout": "continue"', '"on_timeout": "fail"', '"retry"', '"give_up_on"', '"fallback"', '"needs"',
    '"on_error"', '"when"', '"run_if": "any_success"', '"run_if": "all_success"', '"compensate"', '"max_parallel"',
    '"on_item_error": "fail"', '"collect"', '"skip"', '"cache"', '"rate"', '"max"', '"output_schema"', '"capability"',
    '"priority"', "round.index", "round.previous.", "item }}", "index }}", "run.error", "on_failure:", "finally:",
    '"enough"', '"rest"', '"end"',
)  # fmt: skip
ENDED = (
    "run succeeded", "run failed", "succeeded", "failed", "skipped", "cancelled", "several rounds", "tried again",
    "taken from the cache", "another branch", "step in an item", "item in an item", "step of a child",
    "child of a child", "undone", "undone, of an item", "undone, of a round", "ValueError", "ExpressionError",
    "HandlerOutputInvalid", "LoopExhausted", "SignalTimeout", "ChildRunFailed", "NotEnough", "Ended",
)  # fmt: skip


@pytest.mark.timeout(120 + 10 * RUNS)
@settings(
    max_examples=RUNS, deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink on live workers takes many minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip
@given(generated=workflows())
def test_the_engine_does_what_the_simulation_does(crew: Team, generated: Generated) -> None:
    file = generated.write(crew.new_folder())
    expected = simulated(generated, file)
    SEEN.update(constructs(generated, expected))
    family = run_really(crew, generated, file)
    assert_lawful(family)
    assert_same(family, expected, sequential=generated.sequential)


if RUNS >= 200:  # fewer need not have come by all of them

    def test_the_runs_used_every_construct() -> None:
        assert {word for word in (*WRITTEN, *ENDED) if not SEEN[word]} == set()


def constructs(generated: Generated, run: SimulatedRun) -> set[str]:
    """What a workflow uses, and what became of it."""
    text = "".join(generated.files.values())
    found = {word for word in WRITTEN if word in text} | {f"run {run.status}"}
    signs = {
        "step in an item": r"^s\d+\[\d+\]$", "item in an item": r"\]\[", "undone": "compensate",
        "undone, of an item": r"compensate\[", "undone, of a round": r"compensate.*~",
    }  # fmt: skip
    found |= {run.error.type} if run.error else set()
    for name, step in run.steps.items():
        found |= {str(step.status), step.error.type if step.error else ""}
        found |= {sign for sign, pattern in signs.items() if re.search(pattern, name)}
        found |= {"several rounds"} if (step.rounds or 0) > 1 else set()
        found |= {"tried again"} if step.attempts > 1 else set()
        found |= {"another branch"} if (step.reason or "").startswith("another branch") else set()
        cached = step.status is StepState.SUCCEEDED and not step.attempts and isinstance(step.output, dict)
        found |= {"taken from the cache"} if cached and list(step.output) == ["n"] else set()
    found |= {"step of a child"} if any("/" in name for name in run.order) else set()
    return found | ({"child of a child"} if any(name.count("/") > 1 for name in run.order) else set())
