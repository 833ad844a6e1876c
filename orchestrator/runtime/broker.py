"""What the engine asks the broker besides publishing, and what becomes of a message that it does not take.

A broker that is away is nobody's error: what is to be published stands in the store already, and the keeper publishes
again what nobody has claimed.
"""

# kombu says that it is typed, but its transports are not.
# mypy: disable-error-code="no-untyped-call, attr-defined"

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError

from orchestrator.errors import StoreUnavailable
from orchestrator.settings import mask_password
from orchestrator.store.connection import in_thread
from orchestrator.store.patience import NETWORK_ERRORS
from orchestrator.store.routing import is_rabbitmq, priority_number, queue_of

T = TypeVar("T")
Queues = dict[tuple[str, str], str]  # (agent, priority) -> the agent's queue
log = logging.getLogger(__name__)
BROKER_AWAY = (OperationalError,)  # what publishing raises in a task when the broker is away
_AWAY = (*BROKER_AWAY, OSError, *NETWORK_ERRORS)


def hand_over(app: Celery, what: str, publish: Callable[[], None]) -> None:
    """Publish what the store has. A broker that is away costs a line in the log, and at most the settings' deadline.

    In a task it may cost more and raise: Celery knows by the thread from which task a message comes.
    """
    if app.current_worker_task is not None:
        publish()
        return
    try:
        in_thread(app.engine.settings.deadline_s, publish)
    except _AWAY as error:
        log.warning("the broker does not take %s, the keeper sends it later: %s", what, error or type(error).__name__)


def empty_queues(app: Celery, pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those (agent, priority) pairs whose queue holds no message. On Redis one round trip.

    On RabbitMQ, which counts a queue as a whole, a pair counts as empty when all priorities of its agent are.

    Raises:
        kombu's OperationalError, redis.TimeoutError: the broker does not answer.
    """
    queues = {pair: queue_of(pair[0], app.engine.settings.prefix) for pair in pairs}
    count = _empty_on_rabbitmq if is_rabbitmq(app.conf.broker_url) else _empty_on_redis
    return in_thread(app.engine.settings.deadline_s, lambda: _ask(app, lambda connection: count(connection, queues)))


def describe(app: Celery) -> str:
    """What the broker calls itself, and where it is.

    Raises:
        StoreUnavailable: it does not answer, or does not let us in.
    """

    def name(connection: Connection) -> str:
        found = getattr(connection.connection, "server_properties", {})
        return f"{found['product']} {found['version']}" if found else str(connection.transport.driver_type)

    url = mask_password(app.conf.broker_url)
    try:
        return f"{in_thread(app.engine.settings.deadline_s, lambda: _ask(app, name))} at {url}"
    except _AWAY as error:
        raise StoreUnavailable(f"The broker {url} does not answer: {error}", url=url) from error


def _ask(app: Celery, question: Callable[[Connection], T]) -> T:
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1)
        return question(connection)


def _empty_on_redis(connection: Connection, queues: Queues) -> set[tuple[str, str]]:
    channel = connection.default_channel
    with channel.conn_or_acquire() as client:
        pipe = client.pipeline(transaction=False)
        for (_, priority), queue in queues.items():
            pipe.llen(channel._q_for_pri(queue, priority_number(priority)))
        lengths = pipe.execute()
    return {pair for pair, length in zip(queues, lengths, strict=True) if length == 0}


def _empty_on_rabbitmq(connection: Connection, queues: Queues) -> set[tuple[str, str]]:
    empty = {queue for queue in set(queues.values()) if not _length(connection, queue)}
    return {pair for pair, queue in queues.items() if queue in empty}


def _length(connection: Connection, queue: str) -> int:
    """Messages of a queue that no worker holds; of a queue that nobody has declared yet, none."""
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0
