"""The kind of agents `tmux`, and the agent of that name: it pastes messages into a window in which a program lives.

Text travels on standard input and is pasted as text: no shell reads it, and nothing in it is taken for a key.
"""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from orchestrator import Agent, AgentMessage, Fatal, MessageType
from orchestrator.agents.declared import AgentDeclaration

Json = Any
_LIMIT_S = 10.0  # of one call of tmux
_ANSWERED = (MessageType.QUESTION, MessageType.REQUEST)
_SHELLS = {"ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "nu", "pwsh", "sh", "tcsh", "xonsh", "zsh"}
# Spaces may stand inside. Not: what separates commands and parts of a target.
_WINDOW = re.compile(r"[\w+-]([\w +-]*[\w+-])?:[\w+-]([\w +-]*[\w+-])?")
# An end of the bracketed paste (ESC [201~) in the text would make keys of what follows.
_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"}
_CONTROLS |= {0x7F: "\u2421", **dict.fromkeys(range(0x80, 0xA0), "\ufffd")}


class TmuxFailed(Exception):
    """tmux, its server, the window or the program in it is not there; another attempt may find it."""


def _window(text: str) -> str:
    if not _WINDOW.fullmatch(text):
        raise ValueError(f"{text!r} is no window: write SESSION:WINDOW, with letters, digits, spaces, '_', '-' and '+'")
    return text


def _socket(text: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise ValueError(f"{text!r} is no name of a socket: use letters, digits, '_', '-' and '.'")
    return text


class TmuxAgent(AgentDeclaration):
    """`window` is SESSION:WINDOW, `socket` that of `tmux -L`; without them a message names its own, in `metadata`."""

    concurrency: int = Field(1, ge=1)
    window: Annotated[str, AfterValidator(_window)] | None = None
    socket: Annotated[str, AfterValidator(_socket)] | None = None


def tmux_agent(name: str, declaration: Mapping[str, Json]) -> Agent:
    """An agent whose messages are pasted into a window. What it answers is sent by whoever sits there.

    Raises:
        pydantic.ValidationError: the declaration has mistakes. AgentsNotLoadable: the name cannot be used.
    """
    declared = TmuxAgent.model_validate(declaration)
    agent = Agent(name, capabilities=declared.capabilities, concurrency=declared.concurrency)

    @agent.on_message
    def hear(message: AgentMessage) -> None:
        socket = declared.socket or _named(message, "socket", _socket)
        window = declared.window or _named(message, "window", _window)
        if window is None:
            raise Fatal(f"message {message.message_id} names no window: put `window: SESSION:WINDOW` into its metadata")
        _paste(["tmux", *(["-L", socket] if socket else [])], window, shown(message))

    @agent.on_message(MessageType.HANDOFF)
    def refuse(message: AgentMessage) -> None:
        # To paste it would be to complete it, with nothing done.
        raise Fatal(f"agent {name} lives in a terminal, which cannot finish a handoff: send it a request")

    return agent


def shown(message: AgentMessage) -> str:
    """What is pasted: who says it, the text, and how to answer what wants an answer. Ends without a newline."""
    head = f"message {message.message_id} from {message.from_agent}, {message.message_type}, {message.priority}"
    body = json.dumps(message.body, ensure_ascii=False, indent=2) if message.text is None else message.text
    lines = [f"[{' '.join(head.split())}]", body.replace("\r\n", "\n").replace("\r", "\n")]
    if message.message_type in _ANSWERED:
        lines.append(f'reply with: orchestrator reply {message.message_id} "..."')
    return "\n".join(lines).translate(_CONTROLS)


def _named(message: AgentMessage, name: str, check: Callable[[str], str]) -> str | None:
    """What the metadata says. Raises Fatal if it cannot be meant."""
    value = message.metadata.get(name)
    if value is None:
        return None
    try:
        return check(value if isinstance(value, str) else json.dumps(value))
    except ValueError as error:
        raise Fatal(f"metadata {name}: {error}") from None


def _paste(program: list[str], window: str, text: str) -> None:
    # The equals signs: exactly these names, not the first that begin like them.
    target = "=" + window.replace(":", ":=")
    _refuse_shell(program, window, target)
    buffer = uuid.uuid4().hex  # its own, even when two attempts at one message meet
    _tmux(program, window, "load-buffer", "-b", buffer, "-", feed=text)
    try:
        # In one call, so that the pastes of two messages cannot meet between text and key. A window that somebody
        # scrolls back in is brought to its end first: there the key would mean something else.
        _tmux(program, window, "copy-mode", "-q", "-t", target, ";", "paste-buffer", "-p", "-d", "-r", "-b", buffer,
              "-t", target, ";", "send-keys", "-t", target, "Enter")  # fmt: skip
    except TmuxFailed:
        with suppress(TmuxFailed):
            _tmux(program, window, "delete-buffer", "-b", buffer)
        raise


def _refuse_shell(program: list[str], window: str, target: str) -> None:
    """Raise if a shell runs there, the agent's own program having ended: it would run what is pasted as commands."""
    # Not `display-message`, which falls back to another window where this one is not there.
    panes = _tmux(program, window, "list-panes", "-t", target, "-F", "#{pane_active} #{pane_current_command}")
    running = next(line.partition(" ")[2] for line in panes.splitlines() if line.startswith("1 "))
    if running.lstrip("-") in _SHELLS:
        raise TmuxFailed(f"window {window}: the shell {running} is running there, and would run what is pasted")


def _tmux(program: list[str], window: str, *arguments: str, feed: str = "") -> str:
    given = feed.encode("utf-8", "replace")
    try:
        done = subprocess.run([*program, *arguments], input=given, capture_output=True, timeout=_LIMIT_S)
    except FileNotFoundError:
        raise TmuxFailed("tmux is not installed, or not on the PATH of the worker") from None
    except subprocess.TimeoutExpired:
        raise TmuxFailed(f"tmux took longer than {_LIMIT_S:g} s with window {window}") from None
    if done.returncode:
        raise TmuxFailed(f"window {window}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode("utf-8", "replace")


tmux = tmux_agent("tmux", {})
