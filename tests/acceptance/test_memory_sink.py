"""The journal in the memory of a model: the reference server of MCP from npm, spoken to over stdio."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.acceptance.project import Project
from tests.waiting import wait_until

PACKAGE = "@modelcontextprotocol/server-memory"


@pytest.fixture(scope="module")
def memory_server(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the server, freshly installed from npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.fail("these tests need Node.js: apt-get install nodejs npm, or brew install node")
    folder = tmp_path_factory.mktemp("npm")
    words = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), PACKAGE]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, f"npm install {PACKAGE}: {done.stderr}"
    package = folder / "node_modules" / PACKAGE
    (program,) = json.loads((package / "package.json").read_text("utf-8"))["bin"].values()
    return [node, str(package / program)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("project"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def task_id(project: Project) -> str:
    """A run that fails and a handoff that is completed. Returns the handoff's id."""
    project.call("run", "fails.yaml", timeout_s=60)
    project.call("register", "ada")
    offered = project.call("handoff", "ada", "--task", "review", "--from", "bob").stdout.strip()
    project.json("accept", offered)
    project.json("complete", offered, "--result", '{"ok": true}')
    return offered


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "memory.jsonl"


def read_graph(command: list[str], memory: Path) -> dict[str, Any]:
    """What a model finds there."""

    async def read() -> dict[str, Any]:
        server = StdioServerParameters(
            command=command[0], args=command[1:], env=os.environ | {"MEMORY_FILE_PATH": str(memory)}
        )
        with open(os.devnull, "w") as silence:
            async with (
                stdio_client(server, errlog=silence) as (reading, writing),
                ClientSession(reading, writing) as session,
            ):
                await session.initialize()
                reply = await session.call_tool("read_graph", {})
        return json.loads(reply.model_dump()["content"][0]["text"])

    return asyncio.run(read())


def observations(graph: dict[str, Any]) -> dict[str, list[str]]:
    return {entity["name"]: entity["observations"] for entity in graph["entities"]}


def test_a_model_can_read_what_happened_and_a_second_start_repeats_nothing(
    project: Project, task_id: str, memory: Path, memory_server: list[str]
) -> None:
    words = ["sink", "memory", "--once", "--json", "--", *memory_server]
    done = project.call(*words, MEMORY_FILE_PATH=str(memory))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["entries"] > 10
    assert summary["gaps"] == 0
    graph = read_graph(memory_server, memory)
    known = observations(graph)
    assert [text.split()[0] for text in known[f"handoff:{task_id}"]] == ["offered", "accepted", "completed"]
    run_id = project.json("runs")[0]["run_id"]
    assert [text.split()[0] for text in known[f"run:{run_id}"]] == ["failed"]
    assert known["agent:echo"][0].startswith("started at ")
    links = {(link["from"], link["relationType"], link["to"]) for link in graph["relations"]}
    assert ("agent:ada", "is offered", f"handoff:{task_id}") in links
    again = json.loads(project.call(*words, MEMORY_FILE_PATH=str(memory)).stdout)
    assert (again["entries"], again["position"]) == (0, summary["position"])
    assert read_graph(memory_server, memory) == graph


@pytest.mark.long
def test_entries_that_come_twice_are_remembered_once(
    project: Project, task_id: str, memory: Path, memory_server: list[str]
) -> None:
    words = ["sink", "memory", "--once", "--", *memory_server]
    project.call(*words, MEMORY_FILE_PATH=str(memory))
    graph = read_graph(memory_server, memory)
    # Another way to write the same server is another sink, which starts at the beginning.
    other = ["sink", "memory", "--once", "--json", "--", memory_server[0], "--no-warnings", memory_server[1]]
    done = project.call(*other, MEMORY_FILE_PATH=str(memory))
    assert json.loads(done.stdout)["entries"] > 10
    assert read_graph(memory_server, memory) == graph


def test_a_memory_is_told_as_it_happens_and_ctrl_c_ends_both(
    project: Project, task_id: str, memory: Path, memory_server: list[str]
) -> None:
    sink = project.start("sink", "memory", "--", "env", f"MEMORY_FILE_PATH={memory}", *memory_server)
    offered = project.call("handoff", "ada", "--task", "review").stdout.strip()
    wait_until(
        lambda: memory.exists() and f"handoff:{offered}" in memory.read_text("utf-8"), what="the handoff", timeout_s=30
    )
    sink.send_signal(signal.SIGINT)
    assert sink.wait(15) == 130
    project.wait_until_quiet()


def test_a_file_gets_the_journal_and_goes_on_where_it_stopped(project: Project, task_id: str, tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    first = project.json("sink", "file", str(file), "--once")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert (len(lines), lines[-1]["id"]) == (first["entries"], first["position"])
    assert {"run.created", "step.failed", "run.failed", "handoff.completed"} <= {line["name"] for line in lines}
    shown = project.call("events", "--json", "--limit", "1000").stdout
    assert [json.loads(line) for line in shown.splitlines()] == lines
    sink = project.start("sink", "file", str(file))
    offered = project.call("handoff", "ada", "--task", "review").stdout.strip()
    wait_until(lambda: offered in file.read_text("utf-8"), what="the handoff", timeout_s=15)
    newest = json.loads(project.call("events", "--limit", "1", "--json").stdout)["id"]
    wait_until(lambda: newest in file.read_text("utf-8"), what="all that a handoff leaves in the journal", timeout_s=15)
    sink.send_signal(signal.SIGINT)
    assert sink.wait(15) == 130
    ids = [json.loads(line)["id"] for line in file.read_text("utf-8").splitlines()]
    assert ids == sorted(set(ids), key=ids.index)
    assert project.json("sink", "file", str(file), "--once")["entries"] == 0


def test_the_journal_is_printed_and_followed(project: Project, task_id: str) -> None:
    newest = project.call("events", "--limit", "1", "--json").stdout
    follower = project.start("events", "--limit", "1", "--follow", "--json")
    assert follower.stdout
    assert follower.stdout.readline() == newest
    message_id = project.call("send", "ada", "hello", "bob").stdout.strip()
    sent = json.loads(follower.stdout.readline())
    assert {sent["name"], sent["message"], sent["from"], sent["to"]} == {"message.sent", message_id, "bob", "ada"}
    follower.send_signal(signal.SIGINT)
    assert follower.wait(15) == 130
    text = project.call("events", "--limit", "1").stdout
    assert text.count("\n") == 1
    assert f"message.sent         message={message_id} from=bob to=ada" in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["sink", "fil", "x"], 2, "did you mean file"),
        (["sink", "file"], 2, "name one file"),
        (["sink", "file", "team.py", "--once"], 1, "team.py: is no journal; name a new file"),
        (["sink", "memory", "--once", "--", "no-such-memory"], 1, "no command 'no-such-memory' for the memory"),
        (["events", "r1", "--limit", "3"], 2, "only without RUN"),
    ],
)
def test_a_mistake_is_one_clear_line(project: Project, words: list[str], code: int, said: str) -> None:
    done = project.call(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
