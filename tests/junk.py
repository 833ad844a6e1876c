"""What can lie on a queue and is no message of ours."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

STEP, RING = "orchestrator.run_step", "orchestrator.ring"


def junk(queue: str, *, large_bytes: int = 20_000_000) -> dict[str, tuple[bytes, str]]:
    """kind -> (what lies there, what the reason holds that it goes to quarantine with)."""

    def envelope(body: bytes, kind: str = "application/json", encoding: str = "utf-8", **headers: Any) -> bytes:
        """A message of kombu's form."""
        known = {"lang": "py", "id": "x", "root_id": "x", "parent_id": None, "group": None, "argsrepr": "", **headers}
        properties = {
            "correlation_id": "x", "delivery_mode": 2, "priority": 4, "body_encoding": "base64", "delivery_tag": "x",
            "delivery_info": {"exchange": "", "routing_key": queue},
        }  # fmt: skip
        told = {"content-type": kind, "content-encoding": encoding, "headers": known, "properties": properties}
        return json.dumps({"body": base64.b64encode(body).decode(), **told}).encode()

    pickled = pickle.dumps((("r", "s"), {}, {}))
    return {
        "text": (b"not json at all", "cannot be read"),
        "list": (b"[1,2]", "cannot be read"),
        "object": (b"{}", "cannot be read"),
        "deep": (b"[" * 100_000 + b"]" * 100_000, "cannot be read"),
        "pickle": (envelope(pickled, "application/x-python-serialize", "binary", task=STEP), ""),
        "large": (b"x" * large_bytes, "cannot be read"),
        "no task": (envelope(b"{}"), ""),
        "unknown task": (envelope(_body("a"), task="somebody.elses"), "unknown task"),
        "wrong arguments": (envelope(_body(1, {"a": 2}), task=STEP), "does not name a step"),
        "unknown run": (envelope(_body("nope", "nope"), task=STEP), "a run that does not exist"),
        "unknown agent": (envelope(_body("nobody", "nobody high 1 nobody x"), task=RING), "does not name a message"),
    }


def _body(*args: Any) -> bytes:
    return json.dumps([args, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()
