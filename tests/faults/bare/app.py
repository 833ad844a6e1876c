"""A plain Celery app, with kombu's own redis transport and results in Redis; nothing of the orchestrator is imported.

Each task writes the oracle's lines: `start`, `effect`, `end`. `BARE_BROKER` is the URL of the server, `BARE_CONFIG`
Celery's settings as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import after_task_publish

from tests.faults.oracle import FOLDER, handler_pen

URL = os.environ.get("BARE_BROKER", "redis://127.0.0.1:6379/0")

app = Celery("bare", broker=URL, backend=URL)
app.conf.update(broker_connection_retry_on_startup=True, **json.loads(os.environ.get("BARE_CONFIG", "{}")))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _traced(key: str, step: str, work: Callable[[], Any]) -> Any:
    pen, place = handler_pen(), {"step": step, "attempt": 0}
    pen.write("start", key, **place)
    gave = work()
    pen.write("effect", key, **place)
    pen.write("end", key, **place, gave=gave)
    return gave


def _once(name: str) -> bool:
    """Whether this is the first call with this name, over all processes."""
    try:
        os.close(os.open(Path(os.environ[FOLDER]) / f"once-{name}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@app.task(name="work")  # type: ignore[untyped-decorator]
def work(key: str, ms: float = 0, kills: str = "never", pad: str = "", step: str = "") -> int:
    """Take so long, and give this process's id; `kills` its own process `once` or `always`."""

    def busy() -> int:
        time.sleep(ms / 1000)
        if kills == "always" or (kills == "once" and _once(f"{key}-{step}")):
            die()
        return os.getpid()

    return int(_traced(key, step, busy))


@app.task(name="member")  # type: ignore[untyped-decorator]
def member(key: str, number: int, ms: float = 0, kills: str = "never") -> int:
    """A member of a chord."""
    return int(work(key, ms, kills, step=str(number)))


@app.task(name="body")  # type: ignore[untyped-decorator]
def body(results: list[int], key: str) -> int:
    """What joins a chord."""
    return int(_traced(key, "body", lambda: len(results)))


@app.task(name="first")  # type: ignore[untyped-decorator]
def first(key: str) -> str:
    """The first step of a chain; its process dies when it has published the next one, before its result is stored."""
    return str(_traced(key, "first", lambda: key))


@app.task(name="second")  # type: ignore[untyped-decorator]
def second(got: str, key: str) -> str:
    return str(_traced(key, "second", lambda: got))


@after_task_publish.connect(sender="second")  # type: ignore[untyped-decorator]
def _crash_between_publish_and_result(body: Any = None, **_: Any) -> None:
    key = body[1]["key"]
    if os.environ.get("BARE_ROLE") == "worker" and _once(f"{key}-published"):
        die()
