"""Sinks by themselves: the file and its repair, what a memory is told, what is said when there is none."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from orchestrator.records import JournalEntry
from orchestrator.sinks import jsonl
from orchestrator.sinks.jsonl import JsonLinesSink
from orchestrator.sinks.memory import Graph, MemorySink
from orchestrator.sinks.sink import SinkFailed

AT = 1_777_636_800_123


def entry(number: int = 0, name: str = "message.sent", **data: str) -> JournalEntry:
    return JournalEntry(f"{AT + number}-0", AT + number, name, {key.rstrip("_"): text for key, text in data.items()})


def write(path: Path, *entries: JournalEntry) -> None:
    sink = JsonLinesSink(path)
    sink.write(entries)
    sink.close()


def numbers(path: Path) -> list[int]:
    return [int(json.loads(line)["id"].partition("-")[0]) - AT for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


# --- file -----------------------------------------------------------------------------------------------------------


def test_a_line_is_an_object_with_time_and_name_and_ids(path: Path) -> None:
    write(path, entry(message="m1", from_="böb"))
    assert json.loads(path.read_text("utf-8")) == {
        "id": f"{AT}-0", "at": "2026-05-01T12:00:00.123Z", "name": "message.sent", "message": "m1", "from": "böb",
    }  # fmt: skip


def test_only_this_user_may_read_the_file(path: Path) -> None:
    write(path, entry())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_start_appends_and_does_not_repeat_what_is_at_the_end(path: Path) -> None:
    write(path, entry(0), entry(1))
    write(path, entry(1), entry(2))
    assert numbers(path) == [0, 1, 2]


@pytest.mark.parametrize("torn", ['{"id": "17', '{"i', "{", '{"id": "1-0", "at": "x', "\0\0\0"])
def test_a_torn_last_line_is_dropped_at_the_start(path: Path, torn: str) -> None:
    write(path, entry(0))
    path.write_text(path.read_text() + torn)
    write(path, entry(1))
    assert numbers(path) == [0, 1]


def test_a_file_with_nothing_but_a_torn_line_starts_again(path: Path) -> None:
    path.write_text('{"id": "1')
    write(path, entry(0))
    assert numbers(path) == [0]


def test_a_whole_batch_is_recognized_in_a_long_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "_BLOCK", 100)
    batch = [entry(number) for number in range(2 * jsonl.BATCH)]
    write(path, *batch)
    write(path, *batch[-jsonl.BATCH :], entry(2 * jsonl.BATCH))
    assert numbers(path) == list(range(2 * jsonl.BATCH + 1))


@pytest.mark.parametrize("text", ["my thesis", "my\nthesis\n", '{"name": 1}\n', '{"id": "1-0", bad}\n'])
def test_a_file_of_something_else_is_left_as_it_is(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(SinkFailed, match=r"journal\.jsonl: (is no journal; name a new file|a line is broken)"):
        JsonLinesSink(path)
    assert path.read_text() == text


def test_two_processes_cannot_write_to_one_file(path: Path) -> None:
    sink = JsonLinesSink(path)
    with pytest.raises(SinkFailed, match="another process writes to it"):
        JsonLinesSink(path)
    sink.close()
    JsonLinesSink(path).close()


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SinkFailed, match=r"none/x\.jsonl: No such file or directory$"):
        JsonLinesSink(tmp_path / "none" / "x.jsonl")
    with pytest.raises(SinkFailed, match=r"Is a directory$"):
        JsonLinesSink(tmp_path)


# --- memory ---------------------------------------------------------------------------------------------------------


def graph(*entries: JournalEntry) -> Graph:
    made = Graph()
    for one in entries:
        made.add(one)
    return made


def test_an_agent_is_an_entity_with_its_starts_and_stops() -> None:
    made = graph(entry(0, "agent.started", agent="ada"), entry(1, "agent.stopped", agent="ada"))
    assert made.kinds == {"agent:ada": "agent"}
    assert made.about == {
        "agent:ada": ["started at 2026-05-01T12:00:00.123Z", "stopped at 2026-05-01T12:00:00.124Z"]
    }


def test_a_handoff_is_related_to_both_agents() -> None:
    made = graph(entry(0, "handoff.offered", handoff="h1", from_="ada", to="bob", agent="ada", task="review"))
    assert set(made.kinds) == {"handoff:h1", "agent:ada", "agent:bob"}
    assert made.about["handoff:h1"] == [
        "offered at 2026-05-01T12:00:00.123Z: task review, from ada to bob, held by ada"
    ]
    assert list(made.relations) == [("agent:ada", "offers", "handoff:h1"), ("agent:bob", "is offered", "handoff:h1")]


def test_ends_of_runs_and_dead_messages_are_remembered() -> None:
    made = graph(
        entry(0, "run.failed", run="r1"), entry(1, "message.dead", message="m1", from_="ada", to="bob", attempt="3")
    )
    assert made.about["run:r1"] == ["failed at 2026-05-01T12:00:00.123Z"]
    assert made.about["message:m1"] == ["dead at 2026-05-01T12:00:00.124Z: from ada to bob after attempt 3"]


def test_what_happens_all_the_time_is_not_remembered() -> None:
    names = ("message.sent", "message.acknowledged", "run.started", "step.started", "step.succeeded", "new.event")
    assert graph(*(entry(0, name, run="r", message="m", to="x") for name in names)).kinds == {}


def test_a_command_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(SinkFailed, match=r"^no command 'no-such-memory' for the memory$"):
        MemorySink(["no-such-memory"])


def test_the_default_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SinkFailed, match=r"^no command 'npx' for the memory: install Node\.js"):
        MemorySink()


def test_a_command_that_is_no_server_is_one_line() -> None:
    with pytest.raises(SinkFailed) as failed:
        MemorySink([sys.executable, "-c", "pass"])
    assert failed.value.message.startswith("the memory `")
    assert "closed" in failed.value.message.lower()
    assert "\n" not in failed.value.message


SERVER = """
import json, sys
TOOLS = json.loads(sys.argv[1])
for line in sys.stdin:
    call = json.loads(line)
    if "id" not in call:
        continue
    about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    about["protocolVersion"] = call.get("params", {}).get("protocolVersion")
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
    answers = {"initialize": about, "tools/list": {"tools": tools}}
    refused = {"content": [{"type": "text", "text": "no\\nroom"}], "isError": True}
    answer = {"jsonrpc": "2.0", "id": call["id"], "result": answers.get(call["method"], refused)}
    print(json.dumps(answer), flush=True)
"""


def test_a_server_without_the_tools_is_one_line() -> None:
    with pytest.raises(SinkFailed, match=r"has no tool add_observations; it has: create_entities, other$"):
        MemorySink([sys.executable, "-c", SERVER, '["create_entities", "other"]'])


def test_a_server_that_refuses_is_one_line() -> None:
    sink = MemorySink([sys.executable, "-c", SERVER, '["create_entities", "add_observations"]'])
    sink.write([entry(0, "message.sent")])
    with pytest.raises(SinkFailed, match=r"refused create_entities: no room$"):
        sink.write([entry(0, "agent.started", agent="ada")])
    sink.close()
