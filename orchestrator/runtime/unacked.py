"""Messages between delivery and acknowledgement: how a popped one is read, acknowledged, put back or put aside.

A message that cannot be read must neither be lost nor come back for ever nor end the worker that meets it. Its raw
bytes go to quarantine, in the script that takes it out of `unacked`.
"""

# kombu says that it is typed, but its Redis transport is not.
# mypy: disable-error-code="no-untyped-call, attr-defined"

from __future__ import annotations

import logging
from time import time
from types import NoneType
from typing import Any
from uuid import uuid4

from kombu.transport import redis as stock
from kombu.transport import virtual
from kombu.transport.redis import bytes_to_str, loads
from redis.exceptions import NoPermissionError, ResponseError

from orchestrator.store.quarantine import Quarantine

logger = logging.getLogger(__name__)

_TEXTS, _NAMES = ("body", "content-type", "content-encoding"), ("task", "id")
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class QoS(stock.QoS):
    """Acknowledgements with one command, and no second write of a message that the pop has noted already."""

    def append(self, message: Any, delivery_tag: str) -> None:
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        self.channel.forget(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if requeue:
            self.restore_by_tag(delivery_tag, leftmost=True)
        else:
            self.channel.forget(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

    def restore_visible(self, start: int = 0, num: int | None = 10, interval: int = 10) -> None:
        """As in kombu, but the lock is given back without a script, which a server may forbid.

        Should it have lapsed and be another worker's by then, two look at once; each message is put back once all
        the same.
        """
        self._vrestore_count += 1
        if (self._vrestore_count - 1) % (interval or 1):
            return
        with self.channel.conn_or_acquire() as client:
            try:
                if not client.set(self.unacked_mutex_key, "1", nx=True, ex=self.unacked_mutex_expire):
                    return
            except NoPermissionError:
                return  # the account of one who only watches, Flower say: workers do it
            try:
                for tag in client.zrange(
                    self.unacked_index_key, time() - self.visibility_timeout, 0,
                    desc=True, byscore=True, offset=num and start, num=num,
                ):  # fmt: skip
                    self.restore_by_tag(tag, client)
            except ResponseError as error:  # a key of another type: no reason to end the worker
                logger.error("%s cannot be read, and nothing of it is put back: %s", self.unacked_key, error)
            finally:
                client.delete(self.unacked_mutex_key)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """As in kombu, but a note that cannot be read goes to quarantine; there, it would end whoever restores it."""

        def restore(pipe: Any) -> None:
            noted = pipe.hget(self.unacked_key, tag)
            pipe.multi()
            self._remove_from_indices(tag, pipe)
            if noted:
                put_back(self.channel, noted, pipe, leftmost)

        with self.channel.conn_or_acquire(client) as client:
            client.transaction(restore, self.unacked_key)


def read_popped(channel: Any, raw: bytes, queue: str, tag: str) -> dict[str, Any] | None:
    """Decode a popped message and give it the tag of this delivery; None if it is in quarantine now."""
    try:
        message: dict[str, Any] = loads(bytes_to_str(raw))
        message["properties"]["delivery_tag"] = tag
        check(channel, message)
    except UNREADABLE as error:
        _put_aside(channel, raw, queue, error, tag)
        return None
    return message


def put_back(channel: Any, noted: bytes, pipe: Any, leftmost: bool) -> None:
    """Queue, in a transaction that takes it out of `unacked`, what that holds of a message."""
    try:
        message, exchange, routing_key = loads(bytes_to_str(noted))
        if not (isinstance(exchange, str) and isinstance(routing_key, str)):
            raise TypeError("says no queue")
        message["properties"].setdefault("delivery_tag", str(uuid4()))
        check(channel, message)
    except UNREADABLE as error:
        _put_aside(channel, noted, "unacked", error)
    else:
        channel._do_restore_message(message, exchange, routing_key, pipe, leftmost)


def check(channel: Any, message: Any) -> None:
    """Raise one of UNREADABLE for a message that is not of kombu's and Celery's form; later that would end the worker.

    Nothing of ours is compressed, and a small message could become one that fills the memory.
    """
    headers = message["headers"]
    for part in (headers, message["properties"]["delivery_info"]):
        part.keys()
    texts = {name: message[name] for name in _TEXTS} | {name: headers[name] for name in _NAMES if name in headers}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} is no text")
    if headers.get("compression"):
        raise ValueError("it is compressed")
    soft_and_hard = headers.get("timelimit") or (None, None)
    if [type(limit) in (int, float, NoneType) for limit in soft_and_hard] != [True, True]:
        raise TypeError("timelimit is no pair of numbers")
    if headers.get("stamped_headers"):  # an odd one is met when a process of the pool is taken, which is then lost
        raise ValueError("it is stamped")
    channel.Message(message, channel=channel)


def _put_aside(channel: Any, raw: bytes, queue: str, error: BaseException, tag: str = "") -> None:
    with channel.conn_or_acquire() as client:
        Quarantine(client).put(raw, queue, f"cannot be read: {type(error).__name__}: {error}", tag)
