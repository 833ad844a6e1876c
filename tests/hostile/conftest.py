"""The fixture `case`: the hostile input that a test is about."""

from __future__ import annotations

import pytest

from tests.hostile.cases import Case, all_cases


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    marker = request.node.get_closest_marker("hostile")
    assert marker is not None, "say which: @pytest.mark.hostile(id)"
    return all_cases()[marker.args[0]]
