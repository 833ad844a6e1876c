"""The agents of the pictures in docs/screens/: a small house that publishes reports about tea."""

from __future__ import annotations

import time
from typing import Any

from orchestrator import Agent, AgentMessage, Context, Fatal

Json = Any
LONG = "translator-of-reports-into-every-language-of-the-european-union"  # 63 characters, near what a name may have
HOSTILE = "<script>alert(1)</script>"

planner = Agent("planner", capabilities=["planning"], concurrency=2)
researcher = Agent("researcher", capabilities=["research", "reading"], concurrency=8)
writer = Agent("writer", capabilities=["writing", HOSTILE], concurrency=4)
editor = Agent("editor", capabilities=["writing", "editing"], concurrency=2)
translator = Agent(LONG, capabilities=["translation"], concurrency=1)
printer = Agent("printer", capabilities=["printing"], concurrency=1)


def work(share: float = 1.0) -> None:
    """Take a moment, so that there is something to see on a timeline."""
    time.sleep(0.3 * share)


@planner.task
def outline(topic: str, chapters: int = 12) -> dict[str, Json]:
    work()
    return {"topic": topic, "questions": [f"What happened in chapter {number}?" for number in range(chapters)]}


@researcher.task
def find(question: str, ctx: Context) -> dict[str, Json]:
    ctx.progress(0.5, "half of the archive")
    work()
    return {"question": question, "sources": ["Ukers, All About Tea (1935)"]}


@researcher.task
def check(unreachable: int, ctx: Context) -> str:
    work(0.5)
    if ctx.attempt <= unreachable:
        raise ConnectionError("the archive does not answer")
    return "every number is right"


@researcher.task
def glance() -> None:
    """Take no time."""


@writer.task
def write(about: Json = None) -> Json:
    work()
    return about


@writer.task
def charge(card: str) -> None:
    work(0.5)
    raise ValueError(f"card declined: {card}")


@editor.task
def revise(topic: str) -> str:
    work()
    return f"{topic}, revised"


@translator.task
def translate(text: str = "") -> str:
    work()
    return text


@printer.task
def issue(copies: int) -> int:
    return copies


@writer.on_message
@planner.on_message
def answer(message: AgentMessage) -> str:
    return f"I have read it: {message.text or 'the figures'}"


@editor.on_message
def refuse(message: AgentMessage) -> None:
    raise Fatal(f"no desk for {message.text!r}")
