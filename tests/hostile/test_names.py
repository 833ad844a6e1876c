"""One rule for the names of agents, workflows, steps and tasks, the same at every door."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Agent, AgentCommunicator, Client, InterAgentBus, MessageBus, Settings
from orchestrator.errors import AgentsNotLoadable, MessageInvalid, UnknownAgent, WorkflowInvalid
from orchestrator.names import RESERVED
from orchestrator.store.embedded import EmbeddedServer
from orchestrator.workflow.loader import load_workflow
from tests.acceptance.project import Project
from tests.hostile.cases import Case
from workers.shell import shell_agent


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(Settings(url=server.url, prefix="names:")) as made:
        yield made


def _in_file(place: str) -> Callable[[str], Any]:
    def read(name: str) -> None:
        step = {"id": "a", "agent": "b", "task": "c", **({} if place == "name" else {place: name})}
        whole = {"name": name if place == "name" else "x", "steps": [step]}
        loaded = load_workflow("x.yaml", text=json.dumps(whole))
        if loaded.problems:
            raise WorkflowInvalid(list(loaded.problems))

    return read


def _declared_task(name: str) -> None:
    Agent("a").task(name=name)(lambda: None)


#: Where names come in without a server: of agents and workflows, and of steps and tasks.
ADDRESSES: dict[str, Callable[[str], Any]] = {
    "workflow": _in_file("name"),
    "agent of a step": _in_file("agent"),
    "agent in Python": Agent,
    "agent in YAML": lambda name: shell_agent(name, {"tasks": {"t": {"argv": ["true"]}}}),
}
PLACES: dict[str, Callable[[str], Any]] = {
    "step": _in_file("id"),
    "task of a step": _in_file("task"),
    "task in Python": _declared_task,
    "task in YAML": lambda name: shell_agent("a", {"tasks": {name: {"argv": ["true"]}}}),
}
# A handoff goes to agents that are known. ValueError is pydantic's, of a declaration.
REFUSED = (AgentsNotLoadable, MessageInvalid, UnknownAgent, WorkflowInvalid, ValueError)


def refused_everywhere(client: Client, name: str, *, reserved: bool = False) -> None:
    """At every door, in one line without control characters; nothing is kept of it."""
    doors = ADDRESSES if reserved else {**ADDRESSES, **PLACES}
    for door, give in {**doors, **_with_server(client)}.items():
        with pytest.raises(REFUSED) as caught:
            give(name)
        told = str(caught.value)
        assert told.isprintable() or not isinstance(caught.value, (AgentsNotLoadable, MessageInvalid)), (door, told)
    assert client.agents() == []
    assert not [key for key in client.store.client.scan_iter("*") if b"passwd" in str(key).encode()]


def _with_server(client: Client) -> dict[str, Callable[[str], Any]]:
    return {
        "register": client.office.directory.register,
        "bus": lambda name: InterAgentBus(name, client.settings),
        "sender": lambda name: client.send("somebody", "hi", sender=name),
        "receiver": lambda name: client.send(name, "hi"),
        "reply to": lambda name: client.send("somebody", "hi", reply_to=name),
        "handoff": lambda name: client.handoff(name, "t"),
        "broadcast": lambda name: client.broadcast("hi", to=[name]),
    }


def test_good_names_are_good_everywhere() -> None:
    for name in ("a", "pm-agent", "a_1", "z" * 63):
        for give in {**ADDRESSES, **PLACES}.values():
            give(name)


@pytest.mark.hostile("N-01")
def test_a_name_is_no_path(case: Case, client: Client) -> None:
    for name in case.variants:
        refused_everywhere(client, name)


@pytest.mark.hostile("N-02")
def test_a_name_is_no_path_in_disguise(case: Case, client: Client) -> None:
    for name in case.variants:
        refused_everywhere(client, name)


@pytest.mark.hostile("N-03")
def test_a_name_is_no_absolute_path(case: Case, client: Client) -> None:
    for name in case.variants:
        refused_everywhere(client, name)


@pytest.mark.hostile("N-04")
def test_a_name_is_no_path_of_another_system(case: Case, client: Client) -> None:
    for name in case.variants:
        refused_everywhere(client, name)


@pytest.mark.hostile("N-05")
def test_some_words_are_reserved(case: Case, client: Client) -> None:
    for name in case.variants:
        refused_everywhere(client, name, reserved=True)
    for name in sorted(RESERVED):
        refused_everywhere(client, name, reserved=True)
        PLACES["step"](name)  # nothing is addressed by it


@pytest.mark.hostile("N-06")
def test_a_name_is_no_option(case: Case, client: Client) -> None:
    for name in case.variants:
        refused_everywhere(client, name)


@pytest.mark.hostile("N-08")
def test_a_name_is_no_pattern(case: Case, client: Client) -> None:
    for name in (*case.variants, "agent?", "agent[a-z]", "*"):
        refused_everywhere(client, name)


@pytest.mark.hostile("N-09")
def test_no_two_names_differ_in_case_alone(case: Case, client: Client) -> None:
    for name in case.variants:
        refused_everywhere(client, name)


@pytest.mark.hostile("N-11")
def test_a_name_is_one_short_word(case: Case, client: Client) -> None:
    for name in case.variants:
        refused_everywhere(client, name)


def test_a_communicator_has_a_name_like_any_agent(client: Client) -> None:
    async def start() -> None:
        async with MessageBus(client.settings).lifespan() as bus:
            await AgentCommunicator("Admin", bus).start()

    with pytest.raises(MessageInvalid):
        asyncio.run(start())


def test_the_commands_refuse_in_one_line(tmp_path: Path) -> None:
    project = Project(tmp_path)
    try:
        for words in (("register", "Admin"), ("send", "Admin", "hi"), ("send", "echo", "hi", "a/b")):
            done = project.call(*words)
            assert done.returncode == 2, (words, done.stderr)
            assert done.stderr.count("\n") == 1, done.stderr
            assert done.stdout == ""
    finally:
        project.close()
