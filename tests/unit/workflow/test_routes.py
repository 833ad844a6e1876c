from __future__ import annotations

import pytest

from orchestrator.workflow.catalog import AgentInfo, Catalog, TaskInfo
from tests.unit.workflow.texts import TEAM, messages_of, plan_of


def test_the_only_task_of_an_agent_may_be_left_out() -> None:
    assert plan_of("- {id: a, agent: clerk}", TEAM).by_id["a"].name == "clerk.note"


def test_a_capability_is_the_first_agent_that_has_it() -> None:
    assert plan_of("- {id: a, capability: writing}", TEAM).by_id["a"].name == "clerk.note"


def test_without_a_catalog_agents_are_not_checked() -> None:
    assert plan_of("- {id: a, agent: nobody, task: nothing, with: {x: 1}}").by_id["a"].name == "nobody.nothing"


def test_an_agent_whose_tasks_are_not_known_may_have_any() -> None:
    assert plan_of("- {id: a, agent: stranger, task: x, with: {y: 1}}", TEAM).by_id["a"].name == "stranger.x"
    assert plan_of("- {id: a, capability: guessing, task: x}", TEAM).by_id["a"].name == "stranger.x"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("agent: writr, task: edit", "agent: no agent 'writr' (did you mean writer?)"),
        ("agent: zzz", "agent: no agent 'zzz'; there is clerk, stranger, writer"),
        ("agent: writer, task: edt", "task: agent 'writer' has no task 'edt' (did you mean edit?)"),
        ("agent: writer, task: zzz", "task: agent 'writer' has no task 'zzz'; it has draft, edit"),
        ("capability: writting", "capability: no agent with capability 'writting' (did you mean writing?)"),
        ("capability: zzz", "capability: no agent with capability 'zzz'; there is counting, guessing, writing"),
        ("agent: writer, task: draft, with: {topic: 1, note: 2}",
         "with.note: writer.draft has no parameter 'note' (did you mean notes?)"),
        ("agent: writer, task: edit, with: {zz: 2}", "with.zz: writer.edit has no parameter 'zz'; it has none"),
        ("agent: writer, task: draft, with: {notes: 2}", "with: writer.draft needs 'topic' under `with`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_team_is_named(step: str, message: str) -> None:
    assert messages_of(f"- {{id: a, {step}}}") == [f"3 steps.0.{message}"]


def test_several_tasks_ask_for_a_choice() -> None:
    assert messages_of("- {id: a, agent: writer}") == [
        "3 steps.0: agent 'writer' has several tasks; say which: draft, edit"
    ]
    assert messages_of("- {id: a, agent: writer, task: draft}") == [
        "3 steps.0: writer.draft needs 'topic' under `with`"
    ]


def test_an_empty_team_says_so() -> None:
    assert messages_of("- {id: a, agent: x}", Catalog()) == ["3 steps.0.agent: no agent 'x'; there is none"]


def test_agents_survive_json() -> None:
    for agent in TEAM:
        assert AgentInfo.from_json(agent.to_json()) == agent
    newer = {**TEAM.agents[0].to_json(), "colour": "red", "tasks": [{"name": "t", "colour": "red"}]}
    assert AgentInfo.from_json(newer).tasks == (TaskInfo("t"),)


def test_the_first_of_two_agents_with_one_name_counts() -> None:
    catalog = Catalog((AgentInfo("a", ("x",)), AgentInfo("a", ("y",)), AgentInfo("b", ("x",))))
    assert catalog.names == ("a", "b")
    assert catalog.capabilities == ("x",)
    assert [agent.name for agent in catalog.by_capability("x")] == ["a", "b"]
    assert catalog.get("c") is None
