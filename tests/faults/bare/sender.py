"""The process that publishes, so that the test's own process need not: there kombu's transport is replaced.

Reads jobs from its input, one JSON object a line, and answers each when it is done; first it says who it is. A job is
`{task, keys, rate, kwargs, options}`; task `chain` or `chord` publishes that canvas for each key.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from celery import chain, chord
from kombu.transport import TRANSPORT_ALIASES

from tests.faults.bare import app as bare
from tests.faults.oracle import Pen

Json = Any


def publish(task: str, key: str, kwargs: Json, options: Json) -> str:
    if task == "chain":
        return str(chain(bare.first.si(key=key), bare.second.s(key=key)).apply_async(**options).id)
    if task == "chord":
        header = [bare.member.si(key, number, **kwargs) for number in range(options["members"])]
        header[0] = bare.member.si(key, 0, **{**kwargs, "kills": options.get("kills", "never")})
        return str(chord(header)(bare.body.s(key=key)).id)
    return str(bare.app.send_task(task, (key,), kwargs, **options).id)


def do(job: Json, pen: Pen) -> Json:
    """Publish all keys; how many were refused, by which errors, and the seconds that the slowest took."""
    took_s: list[float] = []
    errors: dict[str, int] = {}
    began_s = time.monotonic()
    for number, key in enumerate(job["keys"]):
        if job["rate"]:
            time.sleep(max(0.0, began_s + number / job["rate"] - time.monotonic()))
        if job["until"] and Path(job["until"]).exists():
            break
        took_s.append(_send(pen, key, lambda: publish(job["task"], key, job["kwargs"], job["options"]), errors))  # noqa: B023
    return {"refused": sum(errors.values()), "errors": errors, "slowest_s": max(took_s, default=0.0)}


def _send(pen: Pen, key: str, send: Callable[[], str], errors: dict[str, int]) -> float:
    began_s = time.monotonic()
    pen.write("try", key, kind="task")
    try:
        given = send()
    except Exception as error:  # whatever Celery raises is what is measured
        name = type(error).__name__
        errors[name] = errors.get(name, 0) + 1
        pen.write("refused", key, error=name)
    else:
        pen.write("accepted", key, id=given)
    return time.monotonic() - began_s


def main(oracle: str) -> None:
    def say(what: Json) -> None:
        print(json.dumps(what), flush=True)

    foreign = sorted(name for name in sys.modules if name.partition(".")[0] == "orchestrator")
    say({"transport": TRANSPORT_ALIASES["redis"], "foreign": foreign, "celery": version("celery")})
    pen = Pen(Path(oracle), "sender")
    for line in sys.stdin:
        say(do(json.loads(line), pen))


if __name__ == "__main__":
    main(sys.argv[1])
