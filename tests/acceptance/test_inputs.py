"""Inputs that cannot be: every mistake at once, nothing stored."""

from __future__ import annotations

import pytest

from orchestrator import WorkflowInvalid
from tests.acceptance.team import Team

WORKFLOW = """
inputs:
  a: {type: string, default: ""}
  b: {type: any, default: null}
steps: [{id: s, set: {a: "${{ inputs.a }}"}}]
"""


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"a": "x" * 600_000, "b": "x" * 600_000}, "all inputs together are 1,200,004 bytes"),
        ({"a": "x" * (1 << 20)}, "the limit is 1,048,576"),
        ({"b": float("nan")}, "nan, which is no JSON number"),
        ({"b": 2**63}, "64 bits"),
    ],
)
def test_inputs_beyond_the_limits_are_refused_and_nothing_is_stored(
    crew: Team, inputs: dict[str, object], said: str
) -> None:
    before = crew.client.runs()
    with pytest.raises(WorkflowInvalid, match=said):
        crew.submit(WORKFLOW, inputs)
    assert crew.client.runs() == before
