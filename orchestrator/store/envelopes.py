"""The Celery message of a step as a form that a script fills in: the run, the item, the priority, the task before.

It is what Celery sends for the same signature, in its message protocol, version 2, with what a worker of it reads (a
test compares them): a step inside a window carries the rest of its chain, a head of a fan the body of its chord.
"""

from __future__ import annotations

import json
import re
from typing import Any

from orchestrator.store.routing import RUN_STEP, priority_number, queue_of

Json = Any
GRACE_S = 5  # after the soft time limit; then the child is killed

# What a script puts in: the run, the indices of the item, the number of the run's priority, the task before as JSON,
# the root task's step. Set between control characters, which no JSON text has.
_RUN, _AT, _NUMBER, _PARENT, _ROOT = (f"\x01{letter}\x02" for letter in "RAPUO")
_PLACE = re.compile("\x01([A-Z])\x02")
_BARE = re.compile(r'\\?"(\x01[PU]\x02)\\?"')  # values that are no text


def envelope(segment: dict[str, Json], prefix: str) -> str:
    """The form for the first step of a segment, as `segments.dispatch_table` describes it.

    Returns:
        The letters of the values in their order, a line feed, and a format of `string.format` in Lua.
    """
    first, *rest = segment["chain"]
    body = segment["fan"]["body"] if "fan" in segment else None
    step_id, agent, task, priority, timeout_ms = first
    # Celery takes the rest of a chain from its end.
    chain: list[Json] = [_signature(sig, prefix) for sig in reversed(rest)]
    if body is not None and chain:
        chain[0]["options"]["chord"] = _signature(body, prefix)
    embed: dict[str, Json] = {"callbacks": None, "errbacks": None, "chain": chain or None, "chord": None}
    if body is not None and not chain:
        embed["chord"] = _signature(body, prefix)
    args = [_RUN, step_id + _AT]
    message = {
        # Task and id first: _take.lua reads them there.
        "headers": {
            "lang": "py",
            "task": RUN_STEP,
            "id": f"{_RUN}:{step_id}{_AT}",
            "shadow": f"{agent}.{task}",
            "root_id": f"{_RUN}:{_ROOT}",
            "parent_id": _PARENT,
            "group": f"{_RUN}:{segment['fan']['id']}{_AT}" if "fan" in segment else None,
            "timelimit": _limits(timeout_ms),
            "argsrepr": f"('{_RUN}', '{step_id}{_AT}')",
            "kwargsrepr": "{}",
            "ignore_result": True,
        },
        "body": _json([args, {}, embed]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": queue_of(agent, prefix)},
            "priority": _priority(priority),
        },
    }
    text = _BARE.sub(r"\1", _json(message)).replace("%", "%%")
    return "".join(_PLACE.findall(text)) + "\n" + _PLACE.sub("%s", text)


def _signature(sig: list[Json], prefix: str) -> dict[str, Json]:
    step_id, agent, task, priority, timeout_ms = sig
    options = {
        "queue": queue_of(agent, prefix),
        "priority": _priority(priority),
        "task_id": f"{_RUN}:{step_id}{_AT}",
        "shadow": f"{agent}.{task}",
    }
    if timeout_ms is not None:
        options |= dict(zip(("time_limit", "soft_time_limit"), _limits(timeout_ms), strict=True))
    return {
        "task": RUN_STEP, "args": [_RUN, step_id + _AT], "kwargs": {}, "options": options, "subtask_type": None,
        "immutable": True,
    }  # fmt: skip


def _priority(word: str | None) -> Json:
    return _NUMBER if word is None else priority_number(word)


def _limits(timeout_ms: int | None) -> list[float | None]:
    return [None, None] if timeout_ms is None else [timeout_ms / 1000 + GRACE_S, timeout_ms / 1000]


def _json(value: Json) -> str:
    # Control characters stand for themselves, so that they are the same in JSON inside JSON.
    return json.dumps(value, separators=(",", ":")).replace("\\u0001", "\x01").replace("\\u0002", "\x02")
