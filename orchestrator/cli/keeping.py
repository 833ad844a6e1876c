"""Keeping while there is no worker that would: `orchestrator run` of a workflow that only waits needs no agent."""

from __future__ import annotations

import logging
import os
import socket
import threading

from orchestrator.runtime.app import App
from orchestrator.runtime.keeper import Keeper, explain

log = logging.getLogger(__name__)
_PAUSE_S = 1.0  # after an error, the server being away most of all


class Keeping:
    """A keeper in a thread of this process. Where a worker keeps already, it only stands by."""

    def __init__(self, app: App) -> None:
        self._keeper = Keeper(app, f"command.{os.getpid()}@{socket.gethostname()}")
        self._ended = threading.Event()
        threading.Thread(target=self._keep, name="keeper", daemon=True).start()

    def stop(self) -> None:
        """Leave the place to others at once."""
        self._ended.set()
        self._keeper.stop()

    def _keep(self) -> None:
        while not self._ended.is_set():
            try:
                self._keeper.tick()
            except Exception as error:
                log.info("keeper: %s", explain(error))
                self._ended.wait(_PAUSE_S)
