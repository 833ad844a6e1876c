"""`Site`: what all requests share: the client, the threads in which it may block, and what the pages may do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from orchestrator.client import Client
from orchestrator.settings import Settings

THREADS = 8  # calls at a time; each ends within the deadline of the client


class Site:
    """One installation of the pages.

    Args:
        read_only: nothing may be changed from here.
    """

    def __init__(self, settings: Settings, *, read_only: bool = False) -> None:
        self.settings = settings
        self.read_only = read_only
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="workflows")

    @cached_property
    def client(self) -> Client:
        """Connects when it is first used, which is in one of the threads."""
        return Client(self.settings)

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        if "client" in self.__dict__:
            self.client.close()
