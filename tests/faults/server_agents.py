"""The agent of the tests that treat a server badly: it notes what it does where no server can lose it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from orchestrator import Agent, AgentMessage, Context
from tests.faults.server_load import ORACLE, WORK_S, Oracle

listener = Agent("listener", concurrency=2)


@listener.on_message
def hear(message: AgentMessage, ctx: Context) -> None:
    """Note the beginning, the effect and the end."""
    oracle = Oracle(Path(os.environ[ORACLE]) / f"listener-{os.getpid()}")
    oracle.note("start", message.text or "", id=ctx.message_id, attempt=ctx.attempt)
    time.sleep(float(os.environ[WORK_S]))
    for what in ("effect", "end"):
        oracle.note(what, message.text or "", id=ctx.message_id, attempt=ctx.attempt)
