"""What every fault test gets: `trial`, with its load, its seed, its fleet and its report; and which tests run when.

Without `--faults` only the tests marked `every_commit` are there, at a tenth of the load. With it all are; those with
`star=True` run at full load.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.trial import Trial

HERE = Path(__file__).parent
TENTH = 0.1


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--faults", action="store_true", help="run all fault tests, those with a star at full load")
    group.addoption("--faults-load", choices=("full", "tenth"), help="the load of every fault test")
    group.addoption("--faults-results", metavar="FOLDER", type=Path, help="where each fault test puts its JSON")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("faults", False):
        return
    out = [item for item in items if item.get_closest_marker("fault") and not item.get_closest_marker("every_commit")]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in set(out)]


@pytest.fixture
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trial]:
    mark = request.node.get_closest_marker("fault")
    assert mark, "a fault test says which one it is: @pytest.mark.fault('F01', 'the fault in a few words')"
    option = request.config.getoption
    word = option("faults_load", None) or ("full" if mark.kwargs.get("star") and option("faults", False) else "tenth")
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(1_000_000))
    made = Trial(
        *mark.args, folder=tmp_path, load=1.0 if word == "full" else TENTH, seed=seed,
        results=option("faults_results", None) or tmp_path / "results", strict=option("faults", False),
    )  # fmt: skip
    request.node.user_properties.append(("fault", f"{made.id} seed {seed}, {word} load"))
    print(f"{made.id}: FAULTS_SEED={seed}, {word} load")
    yield made
    made.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The seed of every fault test, also of those that passed."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            told = dict(report.user_properties).get("fault")
            if told and report.when == "call":
                terminalreporter.write_line(f"{told}: {outcome} in {report.duration:.0f} s")
