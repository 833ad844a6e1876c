"""The agents of the fault tests. Each handler notes in the oracle that it starts, has its effect, and ends.

A message's body and a task's parameters say what the handler does: `{"key": K, "ms": 200, "kind": "die", "times": 1}`
works for 200 ms and kills its process, at the first attempt only. `kind` is a name of `KINDS`; a message's `needs` is a
file without which its handler fails.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from orchestrator import Agent, AgentMessage, Context, MessageType
from tests.faults.oracle import handler_pen

Json = Any
HUGE_BYTES = 10 << 20

alpha = Agent("alpha", capabilities=["work"], concurrency=2)
beta = Agent("beta", capabilities=["work"], concurrency=2)
gamma = Agent("gamma", capabilities=["work"], concurrency=2)
delta = Agent("delta", capabilities=["work"], concurrency=2)
AGENTS = (alpha, beta, gamma, delta)
NAMES = tuple(agent.name for agent in AGENTS)


class Poison(Exception):
    """What a handler raises that is told to."""


def _raise() -> None:
    raise Poison("as told")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(3)


def _segfault() -> None:
    ctypes.string_at(0)


def _eat() -> None:
    """Until the limit of the process (`RLIMIT_AS`), or 2 GB."""
    eaten = []
    for _ in range(200):
        eaten.append(bytearray(10 << 20))


def _hang() -> None:
    while True:
        time.sleep(3600)


def _hold() -> None:
    """Hold the interpreter for 6 s inside one call of C: no other thread of the process moves."""
    ctypes.PyDLL(None).sleep(6)


#: What a handler does instead of its work.
KINDS: dict[str, Callable[[], Json]] = {
    "note": lambda: None,
    "raise": _raise,
    "die": _die,
    "exit": _exit,
    "segfault": _segfault,
    "eat": _eat,
    "hang": _hang,
    "hold": _hold,
    "garbage": object,  # no JSON
    "huge": lambda: "x" * HUGE_BYTES,
    "pid": os.getpid,  # tells one attempt's answer from another's
}


def digest(place: str, got: Json) -> str:
    """What a step gives back: the hash of its place and of everything that it got."""
    return hashlib.sha256(f"{place} {json.dumps(got, sort_keys=True)}".encode()).hexdigest()[:16]


def _work(
    ctx: Context, key: str, step: str, *, ms: float, kind: str, times: int | None, gives: Json = None, needs: str = ""
) -> Json:
    pen = handler_pen()
    where = {"step": step, "attempt": ctx.attempt, "run": ctx.run_id, "message": ctx.message_id}
    pen.write("start", key, **where)
    if needs and not os.path.exists(needs):
        raise Poison("what it depends on is away")
    time.sleep(ms / 1000)
    odd = KINDS[kind]() if times is None or ctx.attempt <= times else None
    pen.write("effect", key, **where)
    pen.write("end", key, **where, gave=gives)
    return gives if odd is None else odd


@alpha.on_message
@beta.on_message
@gamma.on_message
@delta.on_message
def hear(message: AgentMessage, ctx: Context) -> Json:
    """Do what the body says. Answers a question with its key."""
    body = message.body
    answer = body["key"] if body.get("answer") else None
    return _work(
        ctx, body["key"], "", ms=body.get("ms", 0), kind=body.get("kind", "note"), times=body.get("times"),
        gives=answer, needs=body.get("needs", ""),
    )  # fmt: skip


@alpha.on_message(MessageType.REQUEST)
@beta.on_message(MessageType.REQUEST)
async def hear_request(message: AgentMessage, ctx: Context) -> Json:
    """The same in a coroutine, which meanwhile blocks the loop of its process."""
    return hear(message, ctx)


@alpha.task
@beta.task
@gamma.task
@delta.task
def link(
    ctx: Context, key: str, got: Json = None, place: str = "", ms: float = 0, kind: str = "note",
    times: int | None = None,
) -> Json:  # fmt: skip
    """One step of a run: gives back the hash of its place (the step's id unless given) and of what it got."""
    place = place or ctx.step_id
    return _work(ctx, key, place, ms=ms, kind=kind, times=times, gives=digest(place, got))


# --- workflows of these steps, and what must come out of them --------------------------------------------------------

ONE = """
name: one
inputs:
  key: {type: string}
  ms: {type: number, default: 0}
  kind: {type: string, default: note}
  times: {type: integer, default: 1000}
steps:
  - id: only
    agent: alpha
    task: link
    with:
      key: "${{ inputs.key }}"
      ms: "${{ inputs.ms }}"
      kind: "${{ inputs.kind }}"
      times: "${{ inputs.times }}"
outputs:
  result: "${{ steps.only.output }}"
"""

CHAIN = """
name: chain
inputs:
  key: {type: string}
  ms: {type: number, default: 0}
steps:
  - id: first
    agent: alpha
    task: link
    with: {key: "${{ inputs.key }}", ms: "${{ inputs.ms }}", got: "${{ inputs.key }}"}
  - id: second
    agent: beta
    task: link
    with: {key: "${{ inputs.key }}", ms: "${{ inputs.ms }}", got: "${{ steps.first.output }}"}
  - id: third
    agent: gamma
    task: link
    with:
      key: "${{ inputs.key }}"
      ms: "${{ inputs.ms }}"
      got: ["${{ steps.first.output }}", "${{ steps.second.output }}"]
outputs:
  hash: "${{ steps.third.output }}"
"""
CHAIN_STEPS = ("first", "second", "third")

FAN = """
name: fan
inputs:
  key: {type: string}
  width: {type: array, default: []}
  ms: {type: number, default: 0}
steps:
  - id: member
    foreach: "${{ inputs.width }}"
    agent: alpha
    task: link
    with: {key: "${{ inputs.key }}", ms: "${{ inputs.ms }}", place: "member ${{ item }}", got: "${{ item }}"}
  - id: join
    agent: beta
    task: link
    with: {key: "${{ inputs.key }}", got: "${{ steps.member.output }}"}
outputs:
  hash: "${{ steps.join.output }}"
"""


def chain_outputs(key: str) -> Json:
    """The outputs of a run of CHAIN."""
    first = digest("first", key)
    second = digest("second", first)
    return {"hash": digest("third", [first, second])}


def fan_outputs(width: int) -> Json:
    """The outputs of a run of FAN whose `width` is the numbers from 0."""
    return {"hash": digest("join", [digest(f"member {item}", item) for item in range(width)])}
