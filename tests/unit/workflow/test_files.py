"""`FilePlans`: when a file is compiled again, and when not."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.catalog import AgentInfo, Catalog, TaskInfo
from orchestrator.workflow.files import FilePlans

ONE = "{name: flow, steps: [{id: a, agent: writer, task: draft}]}"
WRITER = AgentInfo("writer", tasks=(TaskInfo("draft"), TaskInfo("crude")))
KNOWN = Catalog((WRITER,))


@pytest.fixture
def plans() -> FilePlans:
    return FilePlans(Settings())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flow.yaml"
    path.write_text(ONE)
    return path


def online(*agents: AgentInfo) -> Catalog:
    """Nothing is loaded, and these are online."""
    return Catalog(more=lambda: agents)


def never() -> tuple[AgentInfo, ...]:
    raise AssertionError("asked for further agents")


def test_a_file_that_has_not_changed_is_compiled_once(plans: FilePlans, file: Path) -> None:
    assert plans.plan(file, KNOWN) is plans.plan(str(file), Catalog((replace(WRITER),)))


def test_a_changed_file_is_compiled_again_though_its_size_and_time_are_the_same(plans: FilePlans, file: Path) -> None:
    before, about = plans.plan(file, KNOWN), file.stat()
    file.write_text(ONE.replace("draft", "crude"))
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert file.stat().st_size == about.st_size
    assert [step.task for plan in (before, plans.plan(file, KNOWN)) for step in plan.steps] == ["draft", "crude"]


def test_a_mistake_is_not_remembered(plans: FilePlans, file: Path) -> None:
    file.write_text(ONE.replace("draft", "drift"))
    with pytest.raises(WorkflowInvalid, match="did you mean draft"):
        plans.plan(file, KNOWN)
    file.write_text(ONE)
    assert plans.plan(file, KNOWN).steps[0].task == "draft"


def test_further_agents_are_asked_for_only_where_those_loaded_do_not_suffice(plans: FilePlans, file: Path) -> None:
    plans.plan(file, Catalog((WRITER,), more=never))
    file.write_text(ONE.replace("writer", "stranger"))
    with pytest.raises(AssertionError, match="asked"):
        plans.plan(file, Catalog((WRITER,), more=never))


@pytest.mark.parametrize("known", [online, lambda *agents: Catalog(agents)])
def test_an_agent_that_has_changed_or_gone_is_noticed(
    plans: FilePlans, file: Path, known: Callable[..., Catalog]
) -> None:
    plan = plans.plan(file, known(WRITER))
    assert plans.plan(file, known(WRITER)) is plan
    assert plans.plan(file, known(WRITER, AgentInfo("other"))) is not plan
    with pytest.raises(WorkflowInvalid, match="no task 'draft'"):
        plans.plan(file, known(replace(WRITER, tasks=(TaskInfo("crude"),))))
    with pytest.raises(WorkflowInvalid, match="no agent 'writer'"):
        plans.plan(file, known())


def test_an_agent_that_is_loaded_goes_before_one_of_its_name_that_is_online(plans: FilePlans, file: Path) -> None:
    elsewhere = replace(WRITER, tasks=(TaskInfo("crude"),))
    assert plans.plan(file, Catalog((WRITER,), more=lambda: (elsewhere,))).steps[0].task == "draft"
    catalog = Catalog((WRITER,), more=lambda: (elsewhere, AgentInfo("other")))
    assert (catalog.get("other"), catalog.get("writer"), catalog.names) == (
        AgentInfo("other"), WRITER, ("other", "writer"),
    )  # fmt: skip


def test_a_changed_child_workflow_is_noticed(plans: FilePlans, file: Path) -> None:
    child = file.with_name("child.yaml")
    child.write_text(ONE)
    file.write_text("{name: parent, steps: [{id: a, workflow: child.yaml}]}")
    before = plans.plan(file, KNOWN)
    child.write_text(ONE.replace("draft", "crude"))
    after = plans.plan(file, KNOWN)
    assert [plan.children[0].steps[0].task for plan in (before, after)] == ["draft", "crude"]
    assert before.hash != after.hash


def test_files_of_one_name_in_two_working_directories_are_two(
    plans: FilePlans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in ("draft", "crude"):
        (tmp_path / task).mkdir()
        (tmp_path / task / "flow.yaml").write_text(ONE.replace("draft", task))
    found = []
    for task in ("draft", "crude"):
        monkeypatch.chdir(tmp_path / task)
        found.append(plans.plan("flow.yaml", KNOWN).steps[0].task)
    assert found == ["draft", "crude"]
