"""The process that publishes, so that the test's own process need not: there kombu's transport is replaced.

Reads jobs from its input, one JSON object a line, and says when each is done; first it says who it is. A job is
`{task, keys, rate, kwargs, options}`; task `chain` or `chord` publishes that canvas for each key.
"""

from __future__ import annotations

import json
import sys
import time
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


def do(job: Json, pen: Pen) -> None:
    """Publish all keys."""
    began_s = time.monotonic()
    for number, key in enumerate(job["keys"]):
        if job["rate"]:
            time.sleep(max(0.0, began_s + number / job["rate"] - time.monotonic()))
        if job["until"] and Path(job["until"]).exists():
            break
        pen.write("try", key, kind="task")
        try:
            given = publish(job["task"], key, job["kwargs"], job["options"])
        except Exception as error:  # whatever Celery raises is what is measured
            pen.write("refused", key, error=type(error).__name__)
        else:
            pen.write("accepted", key, id=given)


def main(oracle: str) -> None:
    def say(what: Json) -> None:
        print(json.dumps(what), flush=True)

    foreign = sorted(name for name in sys.modules if name.partition(".")[0] == "orchestrator")
    say({"transport": TRANSPORT_ALIASES["redis"], "foreign": foreign, "celery": version("celery")})
    pen = Pen(Path(oracle), "sender")
    for line in sys.stdin:
        do(json.loads(line), pen)
        say("done")


if __name__ == "__main__":
    main(sys.argv[1])
