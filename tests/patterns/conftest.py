"""One worker each for the agents of the patterns, on an embedded server of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import Client
from tests.acceptance.team import Team
from tests.patterns.agents import JOURNAL

AGENTS = Path(__file__).with_name("agents.py")


class Office(Team):
    """A team of the agents of the patterns."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, lease_s=3.0)
        self.settings = self.settings.model_copy(update={"agents": (str(AGENTS),)})
        self.client.close()
        self.client = Client(self.settings)
        self.environment |= {"ORCHESTRATOR_AGENTS": str(AGENTS), JOURNAL: str(self.journal_file)}


@pytest.fixture(scope="session")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"))
    try:
        made.start_worker("clerk", "surveyor")
        yield made
    finally:
        made.close()
