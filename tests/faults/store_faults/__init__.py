"""One script in a hundred fails before it is sent, one after it was done, one is slow; without a line in the product.

`environment(seed)` makes the worker processes that inherit it import `sitecustomize.py` of this folder at their start.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import redis

from orchestrator.store import direct

ROOT = Path(__file__).parents[3]
SEED = "FAULTS_STORE_SEED"  # name of the variable that switches the faults on
SHARE = 0.01  # of each kind
SLOW_S = 0.3
#: How the store says that a script was sent and no answer came.
REPLY_LOST: type[Exception] = getattr(direct, "ReplyLost", redis.TimeoutError)


def environment(seed: int) -> dict[str, str]:
    """What to tell processes, so that the workers among them have store faults."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), str(ROOT), os.environ.get("PYTHONPATH")]))
    return {SEED: str(seed), "PYTHONPATH": path}


def install(seed: int, share: float = SHARE) -> dict[str, int]:
    """Let every script of this process fail now and then; a fork has a sequence of its own. Returns the counts."""
    chance = random.Random(seed)
    counts = {"before_error": 0, "after_error": 0, "slow": 0}
    os.register_at_fork(after_in_child=lambda: chance.seed(seed * 1_000_003 + os.getpid()))
    whole: Any = direct.DirectFunction.__call__

    def spoiled(script: direct.DirectFunction, *arguments: Any) -> Any:
        drawn = chance.random() / share
        if drawn < 1:
            counts["before_error"] += 1
            raise redis.ConnectionError("a fault of the test: it was not sent")
        if 1 <= drawn < 2:
            counts["slow"] += 1
            time.sleep(SLOW_S)
        answer = whole(script, *arguments)
        if 2 <= drawn < 3:
            counts["after_error"] += 1
            raise REPLY_LOST("a fault of the test: it is done, and the answer is lost")
        return answer

    direct.DirectFunction.__call__ = spoiled  # type: ignore[method-assign, assignment]
    return counts
