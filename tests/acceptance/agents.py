"""Agents of the acceptance tests. Their handlers note in a journal when they ran, and wait for files, never for a time.

The tests import this file too: `simulate` runs the same handlers in the process of the test.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator import Agent, AgentMessage, Context, Done, Fatal, Handoff, MessageType, RetryLater
from tests.waiting import wait_until

Json = Any
log = logging.getLogger(__name__)
JOURNAL = "ACCEPTANCE_JOURNAL"  # name of the variable that holds the path of the journal

ear = Agent("ear", capabilities=["hearing"], concurrency=1)
echoer = Agent("echoer", capabilities=["hearing"], concurrency=2)
hand = Agent("hand", capabilities=["lifting"], concurrency=4)
solo = Agent("solo", concurrency=1)
many = Agent("many", concurrency=8)


@contextmanager
def noted(ctx: Context) -> Iterator[None]:
    """Write one line to the journal when a handler starts and one when it ends, however it ends."""
    _note(ctx, "start")
    try:
        yield
    finally:
        _note(ctx, "end")


def _note(ctx: Context, what: str) -> None:
    if JOURNAL in os.environ:
        line = {"run": ctx.run_id, "step": ctx.step_id, "attempt": ctx.attempt, "what": what, "pid": os.getpid(),
                "key": ctx.idempotency_key, "at_s": time.monotonic()}  # fmt: skip
        with open(os.environ[JOURNAL], "a") as journal:
            journal.write(json.dumps(line) + "\n")


# --- tasks that every agent has -------------------------------------------------------------------------------------


@many.task
@solo.task
@hand.task
def echo(ctx: Context, value: Json = None) -> Json:
    """Give back what came in."""
    with noted(ctx):
        return value


@many.task
@solo.task
@hand.task
def hold(ctx: Context, until: str, value: Json = None) -> Json:
    """Wait for a file to appear."""
    with noted(ctx):
        wait_until(Path(until).exists, what=until, timeout_s=60)
        return value


@many.task
@hand.task
def linger(ctx: Context) -> None:
    """Work for a moment, in which others could run beside it."""
    with noted(ctx):
        time.sleep(0.05)


@hand.task
def appears(ctx: Context, path: str, value: Json = None) -> Json:
    """Give back what came in if a file is there, or if it is the first."""
    with noted(ctx):
        if not Path(path).exists() and value != 1:
            raise FileNotFoundError(path)
        return value


# --- failing --------------------------------------------------------------------------------------------------------


@hand.task
def flaky(ctx: Context, times: int) -> dict[str, Json]:
    """Fail so many attempts, then succeed."""
    with noted(ctx):
        if ctx.attempt <= times:
            raise ConnectionError(f"attempt {ctx.attempt} finds nobody")
        return {"attempt": ctx.attempt, "key": ctx.idempotency_key}


@many.task
@hand.task
def fail(ctx: Context, message: str = "no luck") -> None:
    with noted(ctx):
        raise ValueError(message)


@hand.task
def fatal(ctx: Context) -> None:
    with noted(ctx):
        raise Fatal("there is no point")


@hand.task
def later(ctx: Context, after_s: float) -> int:
    """Ask once for a delay, then succeed."""
    with noted(ctx):
        if ctx.attempt == 1:
            raise RetryLater("the service is busy", after_s=after_s)
        return ctx.attempt


class Unpicklable(Exception):
    """Holds what no pickle can, and has no message."""

    def __init__(self) -> None:
        self.file = open(os.devnull)  # noqa: SIM115


class Mute(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@hand.task
def fail_oddly(how: str) -> None:
    """Fail in a way that breaks naive error handling."""
    if how == "exit":
        raise SystemExit(3)
    raise {"empty": ValueError, "unpicklable": Unpicklable, "mute": Mute}[how]()


@hand.task
def die(ctx: Context, times: int) -> int:
    """End the own process the hard way so many attempts."""
    _note(ctx, "start")
    if ctx.attempt <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx.attempt


# --- values ---------------------------------------------------------------------------------------------------------


class Order(BaseModel):
    """What `price` takes."""

    article: str
    pieces: int


class Price(BaseModel):
    """What `price` gives."""

    total: float


@hand.task
def price(order: Order, each: float = 2.5) -> Price:
    return Price(total=order.pieces * each)


@hand.task
def cheat() -> Price:
    return {"total": "much"}  # type: ignore[return-value]


@hand.task
def large(size: int, letter: str = "x") -> str:
    return letter * size


@hand.task
def length(text: str) -> int:
    return len(text)


@hand.task
def give(what: str) -> Json:
    """A value that is no JSON."""
    return {"nan": float("nan"), "infinity": [float("inf")], "huge": 2**64, "object": object(), "half": "\ud800"}[what]


@hand.task
def finished() -> Done:
    return Done({"by": "Done"})


@hand.task
def secretive(password: str) -> int:
    """Use a secret without keeping it."""
    return len(password)


@hand.task
def betray(password: str) -> None:
    """Put a secret into an error."""
    raise PermissionError(f"the door does not open with {password!r}")


# --- the context, async ---------------------------------------------------------------------------------------------


@hand.task
def look_around(ctx: Context) -> dict[str, Json]:
    ctx.log.warning("looking around")
    ctx.progress(0.25, "a quarter")
    ctx.heartbeat()
    before = ctx.steps["before"]
    return {
        "inputs": dict(ctx.inputs), "steps": list(ctx.steps), "before": [before["status"], before["output"]],
        "cancelled": ctx.cancelled, "step_id": ctx.step_id, "attempt": ctx.attempt,
    }  # fmt: skip


@many.task
def watch(ctx: Context) -> None:
    """Work until told to stop, as a handler in a thread must."""
    with noted(ctx):
        wait_until(lambda: ctx.cancelled, what="the cancellation", timeout_s=60)


@many.task
@hand.task
async def greet(name: str, ctx: Context) -> str:
    with noted(ctx):
        await asyncio.sleep(0)
        return f"Hello, {name}!"


@many.task
async def meet(ctx: Context, folder: str, guests: int) -> int:
    """Return only when so many handlers run at the same time."""
    with noted(ctx):
        Path(folder, ctx.step_id).touch()
        while len(list(Path(folder).iterdir())) < guests:
            await asyncio.sleep(0.01)
        return guests


# --- logging --------------------------------------------------------------------------------------------------------


@many.task
@hand.task
def speak(ctx: Context, text: str, until: str = "") -> None:
    """Log in the ways that a handler has; then wait for a file, if one is named."""
    log.info("module: %s", text)
    ctx.log.info("context: %s", text)
    log.debug("debug: %s", text)
    logging.getLogger("somebody.else").info("library: %s", text)
    helper = threading.Thread(target=lambda: log.info("thread: %s", text))
    helper.start()
    helper.join()
    print(f"printed: {text}")
    if until:
        with noted(ctx):
            wait_until(Path(until).exists, what=until, timeout_s=60)


@many.task
@hand.task
async def speak_later(ctx: Context, text: str) -> None:
    """Log from a coroutine, and from one that it starts."""

    async def inner() -> None:
        log.info("inner: %s", text)

    await asyncio.sleep(0)
    log.info("async: %s", text)
    await asyncio.gather(inner())


# --- messages -------------------------------------------------------------------------------------------------------


@echoer.on_message
@ear.on_message
def hear(message: AgentMessage, ctx: Context) -> str | None:
    """Do what the text says, and answer."""
    word, _, rest = (message.text or "").partition(" ")
    _note_message(message, ctx)
    if word == "fail":
        raise ValueError(rest)
    if word == "fatal":
        raise Fatal(rest)
    if word == "die" and ctx.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "recover" and ctx.attempt == 1:
        raise ValueError("once")
    if word == "tell":
        ctx.send(rest, f"told by {ctx.message_id}")
    if word == "hold":
        wait_until(Path(rest).exists, what=rest, timeout_s=60)
    if word == "silence":
        return None
    return f"heard {message.text}"


@ear.on_message(MessageType.QUESTION)
async def answer(message: AgentMessage) -> dict[str, Json]:
    return {"question": message.text}


@ear.task
def draft(topic: str, context: dict[str, Json], ctx: Context, description: str = "") -> dict[str, Json]:
    """A task for handoffs."""
    ctx.send("echoer", "silence about the draft")
    return {"topic": topic, "description": description, "context": sorted(context)}


@hand.task
def tell(to: str, text: str, ctx: Context, fail: bool = False) -> str:
    """Send a message from a step; it goes out with the step's result."""
    sent = ctx.send(to, text)
    if fail and ctx.attempt == 1:
        raise ValueError("not yet")
    return sent


@hand.task
def question(to: str, text: str, ctx: Context) -> Json:
    """Ask another agent from within a step."""
    return ctx.ask(to, text, timeout_s=10)


@hand.task
def pass_on(text: str, to: str, ctx: Context) -> dict[str, Json] | Handoff:
    """Hand the step to another agent."""
    with noted(ctx):
        return Handoff(to=to, context={"note": "from hand"}, task="finish")


@ear.task
def finish(text: str, context: dict[str, Json], ctx: Context) -> dict[str, Json]:
    """Go on with a step that was handed over."""
    with noted(ctx):
        return {"text": text, "context": context, "attempt": ctx.attempt}


@echoer.task(name="share")
@ear.task(name="share")
def share(ctx: Context) -> int:
    """A task that two agents with one capability have."""
    return os.getpid()


def _note_message(message: AgentMessage, ctx: Context) -> None:
    if JOURNAL in os.environ:
        line = {"run": "", "step": "", "message": message.message_id, "text": message.text, "attempt": ctx.attempt,
                "what": "heard", "pid": os.getpid(), "late": message.metadata.get("late", False)}  # fmt: skip
        with open(os.environ[JOURNAL], "a") as journal:
            journal.write(json.dumps(line) + "\n")


# --- random graphs --------------------------------------------------------------------------------------------------


@many.task
@solo.task
@hand.task
def mix(ctx: Context, values: list[Json], flaky: bool = False, broken: bool = False) -> dict[str, int]:
    """A number that depends on all values; it may fail at first, or always."""
    with noted(ctx):
        if broken or (flaky and ctx.attempt == 1):
            raise ValueError(f"{ctx.step_id} does not work")
        text = json.dumps(values, sort_keys=True)
        return {"n": sum(ord(letter) * at for at, letter in enumerate(text, 1)) % 9973}
