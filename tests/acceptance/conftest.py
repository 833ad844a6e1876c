"""Workers that many tests share. A test that kills or restarts something makes a team of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.broker import broker
from tests.acceptance.project import Project
from tests.acceptance.screen import Screen
from tests.acceptance.team import Team, team

#: Tests of messages beside those of runs: two groups of about the same length, one for each of two processes.
_OF_MESSAGES = ("cli_messages", "memory_sink", "messages", "migration", "own_server", "cli_up", "handlers", "timeouts")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests apart into groups, within which they run one after the other: they measure time."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            name = item.path.stem.removeprefix("test_")
            group = "web" if name.startswith("web_") else "messages" if name in _OF_MESSAGES else "runs"
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session", autouse=True)
def _broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with broker(tmp_path_factory.mktemp("broker")):
        yield


@pytest.fixture(scope="session")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One worker each for `hand` and `solo` (processes) and `many` (threads), on an embedded server."""
    with team(tmp_path_factory.mktemp("crew"), lease_s=3.0) as made:
        made.start_worker("hand", "solo")
        made.start_worker("many", pool="threads")
        yield made


@pytest.fixture
def on_screen(project: Project) -> Iterator[Callable[..., Screen]]:
    """Opens terminals for the commands of the test's project."""
    made: list[Screen] = []

    def open_screen(**options: object) -> Screen:
        made.append(Screen(project, **options))  # type: ignore[arg-type]
        return made[-1]

    yield open_screen
    for screen in made:
        screen.close()
