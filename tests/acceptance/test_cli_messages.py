"""The commands about messages, inboxes and handoffs, as a person or a script uses them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.project import Project
from tests.waiting import wait_until

TEAM = """
from orchestrator import Agent, AgentMessage

echo = Agent("echo", capabilities=["talking"], concurrency=1)

@echo.on_message
def hear(message: AgentMessage) -> str | None:
    if message.text == "fail":
        raise ValueError("no [red]luck[/red]")
    return None if message.text == "silence" else f"heard {message.text}"

@echo.task
def shout(text: str) -> dict:
    return {"text": text.upper()}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("mail pröject"))
    made.agents.write_text(TEAM)
    up = made.start("up", "--no-flower")
    wait_until(lambda: "echo" in made.online(), what="the worker", timeout_s=20, every_s=0.2)
    made.call("register", "ada", "--capability", "reviewing")
    yield made
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=30)
    made.close()


def test_send_prints_the_id_and_message_shows_what_became_of_it(project: Project) -> None:
    message_id = project.call("send", "echo", "silence", "pm-agent", "--priority", "high").stdout.strip()
    wait_until(
        lambda: project.json("message", message_id)["status"] == "acknowledged", what="it", timeout_s=15, every_s=0.2
    )
    shown = project.json("message", message_id)
    assert (shown["from_agent"], shown["priority"], shown["body"]) == ("pm-agent", "high", {"content": "silence"})
    assert [attempt["error"] for attempt in shown["attempts"]] == [None]


def test_ask_prints_the_answer_and_times_out_with_3(project: Project) -> None:
    assert project.call("ask", "echo", "hello").stdout == "heard hello\n"
    late = project.call("ask", "echo", "silence", "--timeout", "0.5")
    assert (late.returncode, late.stdout) == (3, "")
    assert "no reply to message" in late.stderr


def test_a_terminal_agent_receives_acknowledges_and_gives_back(project: Project) -> None:
    project.call("send", "ada", "second", "--priority", "low")
    project.call("send", "ada", "first", "--priority", "urgent", "--type", "question")
    assert [m["body"]["content"] for m in project.json("inbox", "ada", "--peek")] == ["first", "second"]
    first, second = project.json("inbox", "ada")
    assert project.json("agents", "--capability", "reviewing")[0]["queue"]["low"] == 0
    answer = project.json("reply", first["message_id"], "done")
    assert (answer["from_agent"], answer["correlation_id"]) == ("ada", first["message_id"])
    assert project.json("ack", first["message_id"])["status"] == "acknowledged"
    assert project.call("ack", first["message_id"]).returncode == 0
    assert project.json("nack", second["message_id"], "--reason", "busy")["status"] == "pending"
    again = project.json("inbox", "ada", "--ack")
    assert [m["message_id"] for m in again] == [second["message_id"]]
    assert project.json("message", second["message_id"])["attempts"][0]["error"]["message"] == "busy"


def test_a_script_follows_an_inbox_line_by_line(project: Project) -> None:
    follower = project.start("inbox", "ada", "--follow", "--json")
    wait_until(
        lambda: project.json("agents", "--capability", "reviewing")[0]["presence"] == "online",
        what="ada", timeout_s=15, every_s=0.2,
    )  # fmt: skip
    project.call("send", "ada", "one")
    project.call("send", "ada", "two")
    assert follower.stdout
    one, two = (json.loads(follower.stdout.readline()) for _ in range(2))
    assert one["body"] == {"content": "one"}
    project.call("ack", one["message_id"])
    follower.send_signal(signal.SIGINT)
    assert follower.wait(15) == 130
    assert project.json("message", one["message_id"])["status"] == "acknowledged"
    assert project.json("message", two["message_id"])["status"] == "pending"
    assert [m["message_id"] for m in project.json("inbox", "ada", "--ack")] == [two["message_id"]]


def test_dead_letters_are_listed_replayed_and_purged(project: Project) -> None:
    message_id = project.json("send", "echo", "fail", "--max-retries", "0")["message_id"]
    wait_until(
        lambda: [m["message_id"] for m in project.json("dead")] == [message_id],
        what="the letter", timeout_s=15, every_s=0.2,
    )  # fmt: skip
    assert "no [red]luck[/red]" in project.call("dead").stdout
    assert project.json("dead", "show", message_id)[0]["error"]["message"] == "no [red]luck[/red]"
    new = project.json("dead", "replay", message_id)[message_id]
    wait_until(
        lambda: [m["message_id"] for m in project.json("dead")] == [new], what="it again", timeout_s=15, every_s=0.2
    )
    assert project.json("message", message_id)["replayed_as"] == new
    assert project.json("dead", "purge", "--all") == {"purged": 1}
    assert project.json("dead") == []


def test_a_broadcast_shows_who_has_acknowledged(project: Project) -> None:
    rows = project.json("broadcast", "silence", "--to", "echo,ada", "--wait-acks", "0.5", "--timeout", "10")
    assert {row["agent"]: row["status"] for row in rows} == {"echo": "acknowledged", "ada": "pending"}
    project.call("inbox", "ada", "--ack")


def test_a_handoff_is_waited_for(project: Project) -> None:
    done = project.json("handoff", "echo", "--task", "shout", "--with", '{"text": "tea"}', "--from", "ada", "--wait")
    assert (done["status"], done["output"], done["owner"]) == ("completed", {"text": "TEA"}, "echo")
    assert done["context"]["working_directory"] == str(project.folder)
    assert [link["status"] for link in done["custody"]] == ["offered", "accepted", "in_progress", "completed"]


def test_a_terminal_agent_accepts_once_and_completes(project: Project) -> None:
    task_id = project.call("handoff", "ada", "--task", "review").stdout.strip()
    assert project.json("accept", task_id)["status"] == "accepted"
    again = project.call("accept", task_id)
    assert (again.returncode, again.stderr) == (2, f"task {task_id} is accepted; only an offered one can be accepted\n")
    assert project.json("complete", task_id, "--result", '{"ok": true}')["result"] == {"ok": True}
    declined = project.call("handoff", "ada", "--task", "review").stdout.strip()
    assert project.json("decline", declined, "--reason", "ill")["owner"] == "operator"
    assert [task["status"] for task in project.json("handoffs")][:2] == ["declined", "completed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["send", "ecko", "x"], "no agent 'ecko' (did you mean echo?)"),
        (["send", "echo", ""], "the body is empty"),
        (["send", "echo", "x", "--priority", "hihg"], "no priority 'hihg' (did you mean high?)"),
        (["send", "echo", "x", "--type", "qestion"], "no message type 'qestion' (did you mean question?)"),
        (["send", "echo", "x", "--ttl", "0"], "ttl_seconds is 0"),
        (["send", "echo", "{", "--json-body"], "body: is no JSON"),
        (["send", "echo", "x", "--at", "noon"], "at: 'noon' is no time"),
        (["reply", "none", "x"], "no message 'none'"),
        (["ack", "none"], "no message 'none'"),
        (["message", "none"], "no message 'none'"),
        (["inbox", "adda"], "no agent 'adda' (did you mean ada?)"),
        (["handoff", "echo", "--task", "shut"], "has no task 'shut' (did you mean shout?)"),
        (["handoff", "echo", "--with", "[1]"], "with: write a JSON object"),
        (["accept", "none"], "no message 'none'"),
        (["dead", "lst"], "did you mean list"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(project: Project, words: list[str], said: str) -> None:
    done = project.call(*words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_ack_by_somebody_who_does_not_hold_the_message_is_refused(project: Project) -> None:
    waiting = project.call("send", "ada", "x").stdout.strip()
    done = project.call("ack", waiting)
    assert (done.returncode, done.stderr) == (2, f"message {waiting} is pending, nobody holds it\n")
    project.call("inbox", "ada", "--ack")


def test_a_body_over_the_limit_is_refused(project: Project, tmp_path: Path) -> None:
    done = project.call("send", "ada", "x" * 100, ORCHESTRATOR_MAX_MESSAGE_BYTES="50")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the body is 114 bytes as JSON; the limit is 50" in done.stderr
