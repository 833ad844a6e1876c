"""Which broker the acceptance tests run on: the store's own server, or a RabbitMQ with `TEST_BROKER=rabbitmq`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from tests.faults.rabbit import rabbit

ON_RABBITMQ = os.environ.get("TEST_BROKER") == "rabbitmq"
_urls: Iterator[str | None] = cycle([None])


@contextmanager
def broker(folder: Path) -> Iterator[None]:
    """Start what the tests ask for. Each team then gets a virtual host, whose queues nobody else knows."""
    global _urls
    if not ON_RABBITMQ:
        yield
        return
    with rabbit(folder, worlds=60) as server:
        _urls = cycle([server.url_of(world) for world in range(1, 61)])
        yield


def next_url() -> str | None:
    """The broker of the next team; None: the server that keeps its state."""
    return next(_urls)
