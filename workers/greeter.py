"""The agent `greeter` of the small examples: it writes greetings and pretends to deliver them."""

from __future__ import annotations

from pydantic import BaseModel

from orchestrator import Agent, Context

greeter = Agent("greeter", capabilities=["greeting"], concurrency=2)


class Greeting(BaseModel):
    """A few friendly words."""

    text: str


@greeter.task
def greet(name: str, greeting: str = "Hello") -> Greeting:
    """Greet one person. Raises ValueError if the name is blank."""
    if not name.strip():
        raise ValueError("the name is blank")
    return Greeting(text=f"{greeting}, {name}!")


@greeter.task
def card(greetings: list[Greeting]) -> Greeting:
    """Write many greetings on one card, one per line."""
    return Greeting(text="\n".join(greeting.text for greeting in greetings))


@greeter.task
def deliver(text: str, ctx: Context, busy_attempts: int = 0) -> dict[str, int]:
    """Pretend to deliver a text over a line that is busy at first.

    Args:
        busy_attempts: how many attempts fail with ConnectionError before one succeeds.
    Returns:
        `{"characters": length of the text, "attempt": the attempt that succeeded}`.
    """
    if ctx.attempt <= busy_attempts:
        raise ConnectionError("the line is busy")
    return {"characters": len(text), "attempt": ctx.attempt}
