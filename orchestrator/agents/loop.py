"""One event loop per process, in a thread of its own, for async handlers."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the process's loop and wait for it; an interrupt of the caller cancels it."""
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def settle(result: Any) -> Any:
    """What a handler gave: the value of a coroutine, which is run for it; anything else as it is."""
    return run(result) if inspect.iscoroutine(result) else result


def _loop() -> asyncio.AbstractEventLoop:
    # By process id: a forked child inherits the dictionary but not the thread that ran the loop.
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="async-handlers", daemon=True).start()
        return loop
