"""The fixture `case`: the hostile input that a test is about; and one Flower for all tests of what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.browser import Browser, flower, kept_link
from tests.acceptance.project import Project
from tests.hostile.cases import Case, all_cases

_OF_A_FILE = {"camp", "crew", "signed", "wheels"}
_OF_ALL = {"inside", "project", "stranger"}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes seconds to set up is set up once: the tests that share it run in one process."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if item.path.parent == Path(__file__).parent and names & (_OF_A_FILE | _OF_ALL):
            item.add_marker(pytest.mark.xdist_group(item.path.stem if names & _OF_A_FILE else "watched"))


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    marker = request.node.get_closest_marker("hostile")
    assert marker is not None, "say which: @pytest.mark.hostile(id)"
    return all_cases()[marker.args[0]]


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The folder of the Flower; no worker runs."""
    made = Project(tmp_path_factory.mktemp("watched"))
    yield made
    made.close()


@pytest.fixture(scope="package")
def stranger(project: Project) -> Iterator[Browser]:
    """Somebody who has not opened its link."""
    with flower(project) as made:
        yield made


@pytest.fixture(scope="package")
def inside(project: Project, stranger: Browser) -> Browser:
    """Somebody who has."""
    return Browser(kept_link(project)).enter()
