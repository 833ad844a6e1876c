"""A Celery worker that serves one agent, in the process that calls it.

`celery -A workers worker -Q agent.NAME` does the same from outside; here it costs no second import, and an idle
worker stops at once.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from typing import Any, Literal

# Imported here, before the fork, because every worker would import them after it.
import celery.apps.worker
import celery.concurrency.thread
import celery.worker.consumer  # noqa: F401
from billiard.common import terminate_handler_fired
from celery import Celery, platforms
from celery.concurrency.prefork import TaskPool
from celery.exceptions import SecurityWarning
from celery.signals import worker_process_shutdown
from celery.utils.nodenames import default_nodename, host_format
from celery.worker import state

from orchestrator.logs import print_discreetly
from orchestrator.runtime import tasks, transport  # noqa: F401
from orchestrator.runtime.event_batches import BEAT_S
from orchestrator.runtime.processes import die_with_parent, kill
from orchestrator.store.routing import queue_of
from orchestrator.tracing import flush

Pool = Literal["prefork", "threads"]
LEAVE_S = 1.5  # for an idle process to tell its spans


class _Prefork(TaskPool):  # type: ignore[misc]
    """Celery's pool, which starts and stops sooner, and leaves no folders behind.

    Celery ties each process to its parent by way of cffi, where that is installed, which parses C for it: 40 ms. And it
    needs two seconds to let idle processes go: each sleeps for one before it ends. Ours end when their spans are told.
    """

    def on_start(self) -> None:
        # What the processes share is in files that billiard removes as soon as it has opened them. The folder it would
        # make for them is removed at an exit that this process never comes to.
        multiprocessing.current_process()._config.setdefault("tempdir", tempfile.gettempdir())  # type: ignore[attr-defined]
        platforms.set_pdeathsig = die_with_parent
        super().on_start()

    def on_stop(self) -> None:
        if state.reserved_requests:
            super().on_stop()
            return
        self._pool.close()
        processes = list(self._pool._pool)
        for process in processes:
            kill(process.pid, signal.SIGTERM)
        ends = time.monotonic() + LEAVE_S
        for process in processes:
            process.join(max(0.0, ends - time.monotonic()))
            kill(process.pid, signal.SIGKILL)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _leave(**_: Any) -> None:
    """The end of a process of the pool, which skips what Python does at exit."""
    flush(LEAVE_S)
    if terminate_handler_fired():
        os._exit(0)  # Celery would wait for a second


def serve(app: Celery, agent: str, *, concurrency: int, pool: Pool, log_level: str) -> int:
    """Be a worker of one agent until a signal says stop.

    Args:
        concurrency: attempts at the same time; >= 1.
        pool: `prefork` for work, `threads` for waiting.
    Returns:
        The exit code: 0 after a stop that was asked for.
    """
    if log_level not in ("debug", "info") or app.engine.settings.log_format == "json":
        # Celery announces a stop on the original standard output, past any log level and format.
        sys.__stdout__ = open(os.devnull, "w")  # type: ignore[misc]  # noqa: SIM115
    print_discreetly()
    # It warns of root because of pickle, which no worker of ours accepts.
    warnings.simplefilter("ignore", SecurityWarning)
    # The supervisor has given running attempts their time before it sends SIGQUIT.
    app.conf.worker_soft_shutdown_timeout = 0
    # What is loaded by now stays for ever: the collector need not look through it at every turn, nor copy it by
    # touching it in the children. A step makes some thousand short-lived objects, so the first look comes later too.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    worker = app.Worker(
        hostname=host_format(default_nodename(f"{agent}.{os.getpid()}@%h")),
        queues=[queue_of(agent, app.engine.settings.prefix)],
        pool=_Prefork if pool == "prefork" else pool,
        concurrency=concurrency,
        prefetch_multiplier=1,
        optimization="fair",
        loglevel=log_level.upper(),
        task_events=True,
        heartbeat_interval=BEAT_S,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker.start()
    flush(LEAVE_S)  # of a pool of threads: the process ends past what Python does at exit
    return int(worker.exitcode or 0)
