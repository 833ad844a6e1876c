"""Workers that many tests share. A test that kills or restarts something makes a team of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.team import Team, team


@pytest.fixture(scope="session")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One worker each for `hand` and `solo` (processes) and `many` (threads), on an embedded server."""
    with team(tmp_path_factory.mktemp("crew"), lease_s=3.0) as made:
        made.start_worker("hand", "solo")
        made.start_worker("many", pool="threads")
        yield made
