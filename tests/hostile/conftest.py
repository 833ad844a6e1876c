"""The fixture `case`: the hostile input that a test is about; and one Flower for all tests of what it answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.browser import Browser, flower, kept_link
from tests.acceptance.project import Project
from tests.hostile.cases import Case, all_cases


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
