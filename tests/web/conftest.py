"""One team, one Flower and one browser for all tests of this folder; not of the session, because while Playwright runs,
its event loop is that of the thread, and other tests have loops of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.acceptance.team import Team, team
from tests.web.browsing import Window, chromium, entered, install_axe


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All in one process: they share the browser, and measure time."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="package")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One worker for `hand` (processes) and one for `many` (threads), on an embedded server."""
    with team(tmp_path_factory.mktemp("web")) as made:
        made.start_worker("hand")
        made.start_worker("many", pool="threads")
        yield made


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="package")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return install_axe(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="package")
def opened(crew: Team, browser: Browser) -> Iterator[tuple[str, Any]]:
    with entered(crew, browser) as made:
        yield made


@pytest.fixture
def window(browser: Browser, opened: tuple[str, Any]) -> Iterator[Callable[..., Window]]:
    """`window(**options of the context)`: at the end the browser has complained of nothing, and asked nobody else."""
    made: list[Window] = []

    def open_window(**options: Any) -> Window:
        made.append(Window(browser, *opened, **options))
        return made[-1]

    yield open_window
    for one in made:
        one.close()
        assert not one.complaints
        assert one.requests
        assert not [address for address in one.requests if not address.startswith(one.origin)]
