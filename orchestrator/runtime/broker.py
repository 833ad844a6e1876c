"""What the engine asks the broker besides publishing."""

from __future__ import annotations

from collections.abc import Iterable

from celery import Celery
from kombu.exceptions import OperationalError

from orchestrator.runtime.routing import priority_number, queue_of

BROKER_AWAY = (OperationalError,)  # what publishing raises when the broker is away


def empty_queues(app: Celery, pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those (agent, priority) pairs whose queue holds no message. One round trip."""
    pairs = list(pairs)
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        with channel.conn_or_acquire() as client:
            pipe = client.pipeline(transaction=False)
            for agent, priority in pairs:
                pipe.llen(channel._q_for_pri(queue_of(agent), priority_number(priority)))
            lengths = pipe.execute()
    return {pair for pair, length in zip(pairs, lengths, strict=True) if length == 0}
