"""The start-up options of a Celery worker that serves one agent, in the process that calls it.

`celery -A workers worker -Q agent.NAME` does the same from outside; here it costs no second import.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Literal

# Imported here, before the fork, because every worker would import them after it.
import celery.apps.worker  # noqa: F401
import celery.concurrency.prefork  # noqa: F401
import celery.concurrency.thread  # noqa: F401
import celery.worker.consumer  # noqa: F401
from celery import Celery
from celery.exceptions import SecurityWarning
from celery.utils.nodenames import default_nodename, host_format

from orchestrator.runtime import tasks, transport  # noqa: F401
from orchestrator.runtime.routing import queue_of

Pool = Literal["prefork", "threads"]


def serve(app: Celery, agent: str, *, concurrency: int, pool: Pool, log_level: str) -> int:
    """Be a worker of one agent until a signal says stop.

    Args:
        concurrency: attempts at the same time; >= 1.
        pool: `prefork` for work, `threads` for waiting; see docs/agents.md.
    Returns:
        The exit code: 0 after a stop that was asked for.
    """
    if log_level not in ("debug", "info"):
        # Celery announces a stop on the original standard output, past any log level.
        sys.__stdout__ = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as the process
    # It warns of root because of pickle, which no worker of ours accepts.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = app.Worker(
        hostname=host_format(default_nodename(f"{agent}.{os.getpid()}@%h")),
        queues=[queue_of(agent)],
        pool=pool,
        concurrency=concurrency,
        prefetch_multiplier=1,
        optimization="fair",
        loglevel=log_level.upper(),
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)
