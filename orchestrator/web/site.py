"""`Site`: what all requests share: the client, the threads in which it may block, and what the pages may do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Lock

from orchestrator.client import Client
from orchestrator.settings import Settings
from orchestrator.web.hub import EventHub

THREADS = 8  # calls at a time; each ends within the deadline of the client
COMPILERS = 2  # definitions at a time that are compiled, which takes up to seconds of the one interpreter there is


class Site:
    """One installation of the pages.

    Args:
        read_only: nothing may be changed from here.
    """

    def __init__(self, settings: Settings, *, read_only: bool = False) -> None:
        self.settings = settings
        self.read_only = read_only
        self._client: Client | None = None
        self._connecting = Lock()
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="workflows")
        self.compilers = ThreadPoolExecutor(COMPILERS, thread_name_prefix="compile")

    @property
    def client(self) -> Client:
        """Connects when it is first used, which is in one of the threads. It knows the agents that are online; the code
        of agents has no place in a web server."""
        with self._connecting:
            if self._client is None:
                self._client = Client(self.settings, agents=())
            return self._client

    @cached_property
    def hub(self) -> EventHub:
        """Who follows which run."""
        return EventHub(lambda: self.client)

    def close(self) -> None:
        for threads in (self.pool, self.compilers):
            threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()
