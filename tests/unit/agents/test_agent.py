"""Agents and their tasks: what comes in and goes out is checked, and the function stays a function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator import Agent, Context, Fatal, RetryLater
from orchestrator.agents.failures import next_delay_ms, step_error
from orchestrator.agents.loading import load_agents
from orchestrator.agents.values import encode
from orchestrator.errors import (
    AgentsNotLoadable,
    HandlerInputInvalid,
    HandlerOutputInvalid,
    LimitExceeded,
    UnknownAgent,
    UnknownTask,
)
from orchestrator.workflow.plan import Retry


class Note(BaseModel):
    text: str
    stars: int = 0


def test_a_task_stays_a_plain_function() -> None:
    writer = Agent("writer")

    @writer.task
    def draft(topic: str) -> str:
        return topic.upper()

    assert draft("tea") == "TEA"
    assert list(writer.tasks) == ["draft"]


def test_values_become_the_types_that_the_task_declares() -> None:
    writer = Agent("writer")

    @writer.task
    def keep(note: Note, days: list[date], schema: int = 3, copy: str = "x") -> None: ...

    found = writer.tasks["keep"].check_input({"note": {"text": "hi"}, "days": ["2026-01-02"]})
    assert found == {"note": Note(text="hi"), "days": [date(2026, 1, 2)], "schema": 3, "copy": "x"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"note": {"text": "hi"}, "n": "many"}, "n: input should be a valid integer.*'many'"),
        ({"note": {"stars": 1}, "n": 1}, "note.text: field required"),
        ({"n": 1}, "note: field required"),
        ({"note": {"text": "hi"}, "n": 1, "extra": 2}, "extra: extra inputs are not permitted"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_field(values: dict[str, Any], named: str) -> None:
    writer = Agent("writer")

    @writer.task
    def keep(note: Note, n: int) -> None: ...

    with pytest.raises(HandlerInputInvalid, match=named) as found:
        writer.tasks["keep"].check_input(values)
    assert "\n" not in str(found.value)


def test_the_context_is_injected_and_is_no_parameter() -> None:
    writer = Agent("writer")

    @writer.task
    def by_name(ctx, topic: str) -> None: ...  # type: ignore[no-untyped-def]

    @writer.task
    def by_type(topic: str, where: Context) -> None: ...

    assert [task.context_parameter for task in writer.tasks.values()] == ["ctx", "where"]
    assert [task.info.params for task in writer.tasks.values()] == [{"topic": True}] * 2


def test_a_returned_model_is_checked_and_becomes_json() -> None:
    writer = Agent("writer")

    @writer.task
    def rate() -> Note: ...  # type: ignore[empty-body]

    task = writer.tasks["rate"]
    assert task.check_output(Note(text="x", stars=2)) == {"text": "x", "stars": 2}
    assert task.check_output({"text": "x"}) == {"text": "x", "stars": 0}
    with pytest.raises(HandlerOutputInvalid, match="stars: input should be a valid integer"):
        task.check_output({"text": "x", "stars": "no"})


@pytest.mark.parametrize("name", ["", "a b", "agent.x", "ä", "-x", "x" * 65])
def test_names_fit_into_queue_names(name: str) -> None:
    with pytest.raises(AgentsNotLoadable, match="agent name"):
        Agent(name)


def test_two_tasks_of_one_name_are_an_error() -> None:
    writer = Agent("writer")
    writer.task(name="x")(lambda: None)
    with pytest.raises(AgentsNotLoadable, match="two tasks are named 'x'"):
        writer.task(name="x")(lambda: None)


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "text"),
    [({"a": [1, None, True]}, '{"a":[1,null,true]}'), (Point(1), '{"x":1}'), ({1}, "[1]"), ("ü", '"ü"')],
)
def test_outputs_are_stored_as_json(value: object, text: str) -> None:
    assert encode(value, max_bytes=100, what="the output") == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "NaN or an infinity"),
        ({"x": -math.inf}, "NaN or an infinity"),
        (2**63, "outside 64 bits"),
        ({"deep": [-(2**63) - 1]}, "outside 64 bits"),
        ("\ud800", "surrogate"),
        (object(), "not JSON"),
    ],
)
def test_what_is_no_json_value_is_refused(value: object, reason: str) -> None:
    with pytest.raises(HandlerOutputInvalid, match=reason):
        encode(value, max_bytes=1000, what="the output")


def test_an_output_over_the_limit_is_refused_with_both_sizes() -> None:
    with pytest.raises(LimitExceeded, match=r"is 1,002 bytes as JSON; the limit is 1,000"):
        encode("x" * 1000, max_bytes=1000, what="the output")
    with pytest.raises(LimitExceeded, match="1,002 bytes"):
        encode("ü" * 500, max_bytes=1000, what="the output")


@pytest.mark.parametrize(
    ("error", "failures", "delay"),
    [
        (ValueError(), 1, 100),
        (ValueError(), 2, 200),
        (ValueError(), 3, None),
        (KeyError(), 1, None),
        (Fatal(), 1, None),
        (RetryLater(after_s=5), 1, 5000),
    ],
)
def test_what_happens_after_a_failure(error: Exception, failures: int, delay: int | None) -> None:
    policy = Retry(max_attempts=3, delay_ms=100, give_up_on=("LookupError",))
    assert next_delay_ms(policy, failures, error) == delay


def test_an_error_without_a_message_still_says_something() -> None:
    assert step_error(KeyError(), "a").message == "KeyError"
    assert "surrog" in step_error(ValueError("surrog\ud800ate"), "a").message


# --- loading ----------------------------------------------------------------------------------------------------

AGENT_FILE = "from orchestrator import Agent\n{name} = Agent('{name}')\n@{name}.task\ndef go() -> int: return 1\n"


def test_agents_come_from_files_folders_and_modules(tmp_path: Path) -> None:
    (tmp_path / "one dir ü").mkdir()
    (tmp_path / "one dir ü" / "painter.py").write_text(AGENT_FILE.format(name="painter"))
    (tmp_path / "one dir ü" / "critic.py").write_text(AGENT_FILE.format(name="critic"))
    found = load_agents([str(tmp_path / "one dir ü"), "workers"])
    assert {"painter", "critic", "greeter"} <= set(found.names)
    assert found.task("painter", "go").fn() == 1
    with pytest.raises(UnknownAgent, match="painter"):
        found.get("paintr")
    with pytest.raises(UnknownTask, match="go"):
        found.task("painter", "goo")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nonsense_of_mine", "ModuleNotFoundError.*nonsense_of_mine.*:1"),
        ("x = 1\nx.y", "AttributeError.*:2"),
        ("def broken(:", "SyntaxError.*:1"),
        ("x = 1", "defines no agent"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_one_line_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(AgentsNotLoadable, match=reason):
        load_agents([str(file)])


def test_two_agents_of_one_name_are_an_error(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(AGENT_FILE.format(name="twin"))
    with pytest.raises(AgentsNotLoadable, match="two agents are named 'twin'"):
        load_agents([str(tmp_path)])


def test_a_source_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(AgentsNotLoadable, match="no such file"):
        load_agents(["nowhere/agents.py"])
    with pytest.raises(AgentsNotLoadable, match="No module named"):
        load_agents(["nowhere_at_all"])
