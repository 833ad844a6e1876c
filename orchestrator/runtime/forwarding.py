"""The next message of a chain, as Celery would send it, for the script that finishes the step before it.

Celery builds and publishes it after the task, which takes a third of a step's time and leaves a moment in which it can
be lost. The fields are those of Celery's message protocol, version 2; a test compares them with what Celery sends.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from kombu.transport.redis import Channel

from orchestrator.records import Forward
from orchestrator.runtime.transport import WAKE_TTL_MS


def next_message(request: Any) -> Forward | None:
    """What the chain that a request belongs to sends next; None when it ends here."""
    if not request.chain:
        return None
    *rest, signature = request.chain
    options = signature["options"]
    queue, priority = options["queue"], options["priority"]
    body = [signature["args"], {}, {"callbacks": None, "errbacks": None, "chain": rest, "chord": options.get("chord")}]
    message = {
        "body": json.dumps(body, separators=(",", ":")),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": _headers(request, signature, options),
        "properties": {
            "correlation_id": options["task_id"],
            "reply_to": options.get("reply_to", ""),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": priority,
            "body_encoding": None,
            "delivery_tag": str(uuid4()),
        },
    }
    key = f"{queue}{Channel.sep}{priority}" if priority else queue
    text = json.dumps(message, separators=(",", ":"))
    return Forward(signature["args"][1], key, f"{queue}{Channel.sep}wake", WAKE_TTL_MS, text)


def _headers(request: Any, signature: Any, options: Any) -> dict[str, Any]:
    return {
        "lang": "py",
        "task": signature["task"],
        "id": options["task_id"],
        "shadow": options["shadow"],
        "eta": None,
        "expires": None,
        "group": options.get("group_id"),
        "group_index": options.get("group_index"),
        "retries": 0,
        "timelimit": [options.get("time_limit"), options.get("soft_time_limit")],
        "root_id": request.root_id,
        "parent_id": request.id,
        "argsrepr": repr(signature["args"]),
        "kwargsrepr": "{}",
        "origin": request.origin,
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
