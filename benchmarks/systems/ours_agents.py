"""The agents of the benchmark: their tasks do nothing and answer 200 bytes, or add a piece of 10 KB."""

from benchmarks.systems.handlers import handle, tell
from benchmarks.systems.protocol import ANSWER, PIECE
from orchestrator import Agent, AgentMessage

solo, a, b = Agent("solo"), Agent("a"), Agent("b")


@solo.task
@a.task
@b.task
def go() -> str:
    return ANSWER


@solo.task
@a.task
@b.task
def last(key: str) -> str:
    tell(key)
    return ANSWER


@solo.task
def add() -> str:
    return PIECE


@solo.task
def read(pieces: list[str], key: str) -> int:
    tell(key)
    return sum(map(len, pieces))


@solo.on_message
def note(message: AgentMessage) -> None:
    handle(message.text or "")
