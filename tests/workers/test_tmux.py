"""The kind `tmux`: a real server of its own, and a program in a window that writes down every byte it gets."""

from __future__ import annotations

import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator import AgentMessage, Fatal, MessagePriority, MessageType
from tests.waiting import wait_until
from workers.tmux import TmuxFailed, shown, tmux, tmux_agent

# Asks for bracketed paste, as editors and agents in terminals do, and keeps what comes in.
LISTENER = """\
import os, sys, tty
tty.setraw(0)
with open(sys.argv[1], "ab", buffering=0) as heard:
    os.write(1, b"\\x1b[?2004hlistening")
    while data := os.read(0, 65536):
        heard.write(data)
"""
START, END = b"\x1b[200~", b"\x1b[201~"


class Tmux:
    """A server that nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self.socket = f"test-{uuid4().hex[:12]}"
        self.folder = folder
        found = shutil.which("tmux")
        assert found, "the tests need tmux"
        self.program = found
        (folder / "listener.py").write_text(LISTENER)

    def __call__(self, *arguments: str) -> str:
        command = [self.program, "-L", self.socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout

    def listen(self, session: str, window: str) -> Path:
        """A window with a listener; the file it writes to."""
        heard = self.folder / f"heard-{session}-{window}"
        program = [sys.executable, str(self.folder / "listener.py"), str(heard)]
        self("new-session", "-d", "-s", session, "-n", window, "-c", str(self.folder), "--", *program)
        # On the screen, so that tmux has read the request for bracketed paste before it, too.
        wait_until(
            lambda: "listening" in self("capture-pane", "-p", "-t", f"{session}:{window}"),
            what="the listener", timeout_s=10,
        )  # fmt: skip
        return heard

    def paste(self, agent: Any, message: AgentMessage) -> None:
        agent.ear(message.message_type).fn(message)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Tmux]:
    tmux = Tmux(tmp_path)
    yield tmux
    # In one call: the server has to say where its socket is before it ends and leaves the file behind.
    end = [tmux.program, "-L", tmux.socket, "display-message", "-p", "#{socket_path}", ";", "kill-server"]
    said = subprocess.run(end, capture_output=True, text=True, timeout=10)
    if said.returncode == 0:
        Path(said.stdout.strip()).unlink(missing_ok=True)


def message(text: Any, kind: MessageType = MessageType.NOTIFICATION, **metadata: Any) -> AgentMessage:
    body = {"content": text} if isinstance(text, str) else text
    return AgentMessage("m1", "dev", "pm", kind, body, MessagePriority.HIGH, metadata=metadata)


def heard_in(file: Path, end: bytes = b"\r") -> bytes:
    """What a listener got, once Enter has come."""
    wait_until(lambda: file.read_bytes().endswith(end), what="Enter", timeout_s=10)
    return file.read_bytes()


def test_a_message_is_pasted_as_one_piece_and_enter_is_pressed(server: Tmux) -> None:
    heard = server.listen("hive", "pm")
    agent = tmux_agent("pm-agent", {"window": "hive:pm", "socket": server.socket})
    server.paste(agent, message("first\nsecond\tünï"))
    expected = "[message m1 from dev, notification, high]\nfirst\nsecond\tünï".encode()
    assert heard_in(heard) == START + expected + END + b"\r"
    assert server("list-buffers") == ""


@pytest.mark.parametrize("kind", [MessageType.QUESTION, MessageType.REQUEST])
def test_a_question_says_how_to_reply(kind: MessageType) -> None:
    assert shown(message("Which?", kind)).endswith('\nWhich?\nreply with: orchestrator reply m1 "..."')


def test_other_messages_ask_for_no_reply() -> None:
    assert shown(message({"a": "ü"})) == '[message m1 from dev, notification, high]\n{\n  "a": "ü"\n}'


def test_nothing_in_a_message_is_executed(server: Tmux, tmp_path: Path) -> None:
    heard = server.listen("hive", "pm")
    trap = tmp_path / "trap"
    touch = f"touch {trap}"
    hostile = f"$({touch}) `{touch}` '; {touch}; \" #{{pane_id}} #({touch}) ; kill-server\n!{touch};"
    agent = tmux_agent("pm-agent", {"window": "hive:pm", "socket": server.socket})
    server.paste(agent, message(hostile))
    assert heard_in(heard) == START + b"[message m1 from dev, notification, high]\n" + hostile.encode() + END + b"\r"
    assert not trap.exists()


def test_a_message_cannot_end_its_own_paste(server: Tmux) -> None:
    heard = server.listen("hive", "pm")
    agent = tmux_agent("pm-agent", {"window": "hive:pm", "socket": server.socket})
    server.paste(agent, message("a\x1b[201~\rtouch x\r\x9b201~\x03\x04\x7fb\r\nc"))
    pasted = heard_in(heard)
    assert pasted.startswith(START)
    assert pasted.endswith(b"b\nc" + END + b"\r")
    inside = pasted.removeprefix(START).removesuffix(END + b"\r").decode()
    assert [letter for letter in inside if unicodedata.category(letter) == "Cc" and letter != "\n"] == []


def test_control_characters_are_taken_out_but_newline_and_tab() -> None:
    pasted = shown(message("".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))))
    assert {letter for letter in pasted if unicodedata.category(letter) == "Cc"} == {"\t", "\n"}


def test_a_shell_is_not_given_a_message_to_run(server: Tmux, tmp_path: Path) -> None:
    server("new-session", "-d", "-s", "hive", "-n", "shell", "-c", str(tmp_path), "--", "sh", "-i")
    agent = tmux_agent("pm-agent", {"window": "hive:shell", "socket": server.socket})
    with pytest.raises(TmuxFailed, match=r"window hive:shell: the shell \w*sh is running there"):
        server.paste(agent, message(f"\ntouch {tmp_path}/trap"))
    server("send-keys", "-t", "hive:shell", f"touch {tmp_path}/after", "Enter")
    wait_until((tmp_path / "after").exists, what="the shell", timeout_s=10)
    assert not (tmp_path / "trap").exists()


def test_the_message_may_name_the_window_and_the_socket(server: Tmux) -> None:
    heard = server.listen("hive", "pm 2")
    server.paste(tmux, message("Hello", window="hive:pm 2", socket=server.socket))
    assert b"Hello" in heard_in(heard)


def test_what_is_declared_goes_before_what_a_message_says(server: Tmux) -> None:
    heard = server.listen("hive", "pm")
    agent = tmux_agent("pm-agent", {"window": "hive:pm", "socket": server.socket})
    server.paste(agent, message("Hello", window="hive:other", socket="other"))
    assert b"Hello" in heard_in(heard)


def test_a_window_in_copy_mode_gets_its_message(server: Tmux) -> None:
    heard = server.listen("hive", "pm")
    server("copy-mode", "-t", "hive:pm")
    server.paste(tmux_agent("a", {"window": "hive:pm", "socket": server.socket}), message("Hello"))
    assert heard_in(heard).endswith(b"Hello" + END + b"\r")


@pytest.mark.parametrize("window", ["hive:p", "hive:absent", "hiv:pm", "other:pm"])
def test_a_window_that_is_not_there_is_an_ordinary_error_with_its_name(server: Tmux, window: str) -> None:
    heard = server.listen("hive", "pm")
    with pytest.raises(TmuxFailed, match=f"^window {window}: can't find"):
        server.paste(tmux_agent("a", {"window": window, "socket": server.socket}), message("Hello"))
    assert heard.read_bytes() == b""


def test_a_server_that_does_not_run_is_an_ordinary_error(server: Tmux) -> None:
    with pytest.raises(TmuxFailed, match=r"^window hive:pm: "):
        server.paste(tmux_agent("a", {"window": "hive:pm", "socket": server.socket}), message("Hello"))


def test_a_machine_without_tmux_says_so(server: Tmux, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TmuxFailed, match="tmux is not installed"):
        server.paste(tmux_agent("a", {"window": "hive:pm"}), message("Hello"))


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({}, "names no window"),
        ({"window": "pm"}, "'pm' is no window: write SESSION:WINDOW"),
        ({"window": "hive:pm;"}, "is no window"),
        ({"window": 3}, "metadata window: '3' is no window"),
        ({"window": "hive:pm", "socket": "../other"}, "metadata socket: '../other' is no name of a socket"),
    ],
)
def test_a_message_that_cannot_be_meant_is_not_tried_again(server: Tmux, metadata: dict[str, Any], told: str) -> None:
    with pytest.raises(Fatal, match=told):
        server.paste(tmux, message("Hello", **metadata))


def test_a_handoff_is_refused_because_to_paste_it_would_be_to_complete_it(server: Tmux) -> None:
    heard = server.listen("hive", "pm")
    with pytest.raises(Fatal, match="agent a lives in a terminal, which cannot finish a handoff"):
        server.paste(tmux_agent("a", {"window": "hive:pm", "socket": server.socket}), message("x", MessageType.HANDOFF))
    assert heard.read_bytes() == b""


def test_a_message_is_answered_by_nobody(server: Tmux) -> None:
    server.listen("hive", "pm")
    ear = tmux_agent("a", {"window": "hive:pm", "socket": server.socket}).ear("question")
    assert ear is not None
    handler: Callable[..., Any] = ear.fn
    assert handler(message("Well?", MessageType.QUESTION)) is None
