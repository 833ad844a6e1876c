"""Random workflows on live workers: each attempt runs once, in an order its needs allow, and all ends as in `simulate`.

`GENERATED_RUNS=200` runs so many of them (`make generated`); by default there are few, because of the time.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.acceptance.generated import assert_lawful, assert_same, run_really, simulated
from tests.acceptance.random_graphs import Generated, workflows
from tests.acceptance.team import Team

RUNS = int(os.environ.get("GENERATED_RUNS", "15"))


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
    family = run_really(crew, generated, file)
    assert_lawful(family)
    assert_same(family, expected, sequential=generated.sequential)
