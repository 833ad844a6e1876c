"""The Celery app of the transport benchmarks and tests: tiny tasks that leave a mark in Redis.

`BROKER` is the URL of the server, `TRANSPORT` is `ours` or `stock`; everything else is set alike.
"""

from __future__ import annotations

import os
import time
from functools import cache

import redis
from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

from orchestrator.runtime.broker_url import broker_settings
from orchestrator.runtime.celery_defaults import DEFAULTS, REQUIRED, TRANSPORT_OPTIONS
from orchestrator.store.connection import connect

URL = os.environ.get("BROKER", "redis://127.0.0.1:6379")
STOCK = "kombu.transport.redis:Transport"

settings = {**DEFAULTS, **REQUIRED, "broker_transport_options": TRANSPORT_OPTIONS, **broker_settings(URL)}
settings |= {"worker_send_task_events": False, "task_send_sent_event": False, "result_backend": None}
if os.environ.get("TRANSPORT") == "stock":
    settings["broker_transport"] = TRANSPORT_ALIASES["redis"] = STOCK

app = Celery("transport_app", set_as_current=False)
app.conf.update(settings)


@cache
def marks(_pid: int) -> redis.Redis:
    return connect(URL, deadline_s=30)


@app.task(name="mark")  # type: ignore[untyped-decorator]
def mark(name: str, seconds: float = 0) -> None:
    """Append the name to the list `done`, after some time."""
    if seconds:
        marks(os.getpid()).rpush("started", name)
        time.sleep(seconds)
    marks(os.getpid()).rpush("done", name)
