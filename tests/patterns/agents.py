"""The agents of `workflows/patterns`: they give back what they get, and note when they start and end.

orchestrator run workflows/patterns/wcp01_sequence.yaml --agents tests/patterns/agents.py
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from orchestrator import Agent, Context

JOURNAL = "PATTERNS_JOURNAL"  # name of the variable that holds the path of the journal

clerk = Agent("clerk", concurrency=4)
surveyor = Agent("surveyor", concurrency=1)


@surveyor.task
@clerk.task
def work(what: Any, ctx: Context, seconds: float = 0) -> Any:
    """Give back what came in, after so many seconds."""
    _note(ctx, "start")
    try:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and not ctx.cancelled:
            time.sleep(0.01)
    finally:
        _note(ctx, "end")
    return what


def _note(ctx: Context, what: str) -> None:
    if JOURNAL in os.environ:
        line = json.dumps({"run": ctx.run_id, "step": ctx.step_id, "attempt": ctx.attempt, "what": what})
        with open(os.environ[JOURNAL], "a") as journal:
            journal.write(line + "\n")
