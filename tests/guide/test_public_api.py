"""The public names are a promise; importing them is quick."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import orchestrator
from orchestrator import errors, outcomes


def test_every_public_name_is_there() -> None:
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = orchestrator.Nonsense


def test_a_file_that_defines_agents_does_not_load_celery() -> None:
    code = "import sys, orchestrator; orchestrator.Agent; sys.exit('celery' in sys.modules or 'redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("error", [
    errors.StoreUnavailable(url="redis://***@host"),
    errors.WorkflowInvalid([errors.Problem("a.yaml", 3, "steps.0", "is wrong")]),
    errors.RunFailed("it failed", run_id="r", status="failed", error=None),
    outcomes.RetryLater("busy", after_s=2.5),
    outcomes.Fatal("no"),
], ids=lambda error: type(error).__name__)  # fmt: skip
def test_errors_survive_pickling(error: errors.OrchestratorError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(again) is type(error)
    assert (str(again), again.details) == (str(error), error.details)


def test_the_docstring_is_the_default_message() -> None:
    assert str(errors.LeaseLost()).startswith("The attempt is no longer the one that counts")


def test_a_problem_names_file_line_and_place() -> None:
    assert str(errors.Problem("a.yaml", 3, "steps.0.id", "is missing")) == "a.yaml:3: steps.0.id: is missing"
    assert str(errors.Problem("inputs", 0, "", "unknown")) == "inputs: unknown"
