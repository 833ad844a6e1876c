"""kombu's Redis transport without its two faults: messages lost by kill -9, workers ended by a restart of the server.

Stock kombu takes a message with BRPOP and writes it to `unacked` with a later command; a worker killed in between
takes the message with it. Here one script does both, and consumers that find nothing block on small wake-up lists
instead. Queues, `unacked` and `unacked_index` keep kombu's names and form, so that queue lengths, Flower, priorities,
restore and stock publishers and consumers work beside it. docs/decisions/0005-transport.md has the measurements.
"""

# kombu says that it is typed, but its Redis transport is not.
# mypy: disable-error-code="no-untyped-call, attr-defined, assignment"

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import cached_property
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import redis
from kombu.transport import TRANSPORT_ALIASES, _transport_cache
from kombu.transport import redis as stock
from kombu.transport.redis import Empty, dumps

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.runtime.functions import LIBRARY, POP, PUSH, REFRESH, SWEEP
from orchestrator.runtime.unacked import UNREADABLE, QoS, check, read_popped
from orchestrator.store.connection import Reviving
from orchestrator.store.direct import DirectFunction, Post, forgotten

logger = logging.getLogger(__name__)

WAKE_TTL_MS = 60_000  # a wake-up only serves consumers that block now, so that lists of dead queues may vanish
_COMPACT = (",", ":")  # JSON without the spaces that it does not need
CONTROL_CHECK_S = 30
ABANDON_S = 1.0  # how long a closing channel waits for the answer to a pop it has sent


class Request(NamedTuple):
    """One command that was sent on the connection that consumes; `queues` in the order of its keys."""

    command: str  # FCALL: a pop; BLPOP: waiting for a wake-up; EXISTS: whether there is anything to pop
    queues: tuple[str, ...] = ()
    tag: str = ""


class Channel(stock.Channel):
    """A channel that pops and registers in one script.

    The connection that consumes sends a pop as long as it finds messages, so that a busy queue costs one round trip for
    each, and a BLPOP on the wake-up lists once it found none. When that ends without a wake-up, it asks whether there
    are messages all the same: a wake-up may be lost, and stock publishers leave none.
    """

    QoS = QoS
    # JSON inside JSON as it is: base64 would make every message and event a third longer. Only JSON is ever sent.
    body_encoding = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unacknowledged: set[str] = set()  # queues consumed with no_ack
        self._request = Request("")
        self._look = True  # whether the next command is a pop
        self._ask = False  # or whether there is anything to pop
        self._pooled: Any = None
        if args[0].client.transport_options.get("global_keyprefix"):
            raise ValueError("global_keyprefix does not reach the keys of scripts; use another database or server")
        super().__init__(*args, **kwargs)
        self._create_client()

    @cached_property
    def _push(self) -> DirectFunction:
        return DirectFunction(self._create_client(), PUSH, LIBRARY)

    @cached_property
    def _pop(self) -> DirectFunction:
        return DirectFunction(self._create_client(), POP, LIBRARY)

    @cached_property
    def _post(self) -> Post:
        return Post(self._create_client())

    @cached_property
    def _refresh_binding(self) -> Callable[..., Any]:
        return self._as_script(REFRESH)

    @cached_property
    def _sweep_bindings(self) -> Callable[..., Any]:
        return self._as_script(SWEEP)

    def _as_script(self, name: str) -> Callable[..., Any]:
        """A function of the library, called as kombu calls its scripts."""
        function = DirectFunction(self._create_client(), name, LIBRARY)
        return lambda keys, args, client: function(keys, args)

    # --- publish ---

    def _wake_key(self, queue: str) -> str:
        return f"{queue}{self.sep}wake"

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Publish and wake one consumer. Batches and queues that expire need more commands than the script has."""
        batch = kwargs.get("_publish_batch")
        if batch is None and queue not in self._expires:
            key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
            self._push([key, self._wake_key(queue)], [dumps(message, separators=_COMPACT), WAKE_TTL_MS])
            return
        with self.conn_or_acquire() as client:
            super()._put(queue, message, **kwargs)
            send = batch.add if batch is not None else lambda name, *args: getattr(client, name)(*args)
            self._wake(queue, send)

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **kwargs: Any) -> None:
        """Publish an event or a control message, without the spaces that JSON does not need."""
        text = dumps(message, separators=_COMPACT)
        with self.conn_or_acquire() as client:
            for topic in self._get_publish_topics(exchange, routing_key):
                client.publish(topic, text)

    def _wake(self, queue: str, send: Callable[..., Any]) -> None:
        send("lpush", self._wake_key(queue), "1")
        send("pexpire", self._wake_key(queue), WAKE_TTL_MS)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        super()._delete(queue, *args, **kwargs)
        with self.conn_or_acquire(client=kwargs.get("client")) as client:
            client.delete(self._wake_key(queue))

    # --- consume ---

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Remember which queues are consumed without acks: nothing would ever take their messages out of `unacked`."""
        (self._unacknowledged.add if no_ack else self._unacknowledged.discard)(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Take one message now, or None."""
        tag = str(uuid4())
        keys, args = self._pop_arguments([queue], tag, without_ack={queue} if no_ack else set())
        found = self._pop(keys, args)
        readable = read_popped(self, found[1], queue, tag) if found else None
        if readable is None:
            return None
        message = self.Message(readable, channel=self)
        if not no_ack:
            self.qos.append(message, tag)
        return message

    def _pop_arguments(self, queues: list[str], tag: str, without_ack: set[str]) -> tuple[list[str], list[Any]]:
        """Keys and arguments of pop.lua. The exchange is left empty, so that a restore goes to this very queue."""
        keys = [self.unacked_key, self.unacked_index_key, *map(self._wake_key, queues)]
        keys += [self._q_for_pri(queue, priority) for priority in self.priority_steps for queue in queues]
        noted = [self.ack_emulation and queue not in without_ack for queue in queues]
        rests = [f', "", {json.dumps(queue)}]' if note else "" for queue, note in zip(queues, noted, strict=True)]
        return keys, [tag, len(queues), WAKE_TTL_MS, *rests]

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Send a pop, or a BLPOP when the last pop found nothing. Each delivery gets a tag of its own: the late ack of
        a worker that lost a message then cannot remove what the next worker holds."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        if self._look:
            self._request = Request("FCALL", tuple(queues), str(uuid4()))
            keys, args = self._pop_arguments(queues, self._request.tag, self._unacknowledged)
            self.client.connection.send_command("FCALL", POP, len(keys), *keys, *args)
        elif self._ask:
            self._request = Request("EXISTS")
            queued = [self._q_for_pri(queue, priority) for queue in queues for priority in self.priority_steps]
            self.client.connection.send_command("EXISTS", *queued)
        else:
            self._request = Request("BLPOP")
            wait_s = self.brpop_timeout if timeout is None else timeout
            self.client.connection.send_command("BLPOP", *map(self._wake_key, queues), wait_s or 0)

    def _brpop_read(self, **options: Any) -> bool:
        """Read the answer; deliver its message if it has one.

        Raises:
            Empty: nothing to deliver; the event loop starts the next command.
        """
        try:
            answer = self._answer(**options)
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        if self._request.command in ("BLPOP", "EXISTS"):
            self._look, self._ask = bool(answer), self._request.command == "BLPOP"
            if not self._closing:
                self._brpop_start()
            raise Empty
        self._look = answer is not None and bool(answer[2])  # a pop that would find nothing is not sent
        if answer is None:
            raise Empty
        reach(CrashPoint.POPPED)
        queue = self._request.queues[answer[0] - 1]
        self._queue_cycle.rotate(queue)
        readable = read_popped(self, answer[1], queue, self._request.tag)
        if readable is None:
            raise Empty
        self.connection._deliver(readable, queue)
        return True

    def _receive_one(self, client: Any) -> Any:
        """Read what came on a channel: events, and what people ask of workers. Kombu ends a worker by what is none."""
        try:
            return super()._receive_one(client)
        except UNREADABLE as error:
            logger.error("what came on a channel cannot be read: %s: %s", type(error).__name__, str(error)[:200])
            return None

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        check(self, message)
        return super()._deliver_fanout_message(message, exchange)

    def _answer(self, **options: Any) -> Any:
        connection = self.client.connection
        try:
            return self.client.parse_response(connection, self._request.command, **options)
        except self.connection_errors:
            connection.disconnect()
            raise
        except redis.ResponseError as error:
            if forgotten(error):
                self._load(connection)
                raise Empty from None
            # A replica, a full disk: asking again at once would be a hot loop, reconnecting is paced by Celery.
            connection.disconnect()
            raise redis.ConnectionError(f"the server refuses to hand out messages: {error}") from error

    def _load(self, connection: Any) -> None:
        """Put the functions on a server that does not have them; the next command is the pop again."""
        self._look = True
        try:
            LIBRARY.load(connection)
        except redis.ResponseError as error:
            connection.disconnect()
            raise redis.ConnectionError(f"the server refuses to take the transport's functions: {error}") from error

    # --- acknowledge and restore ---

    def forget(self, delivery_tag: str) -> None:
        """Remove a message from `unacked`, in one packet and without waiting for the answer.

        While the worker would wait, the next message would wait in it. An acknowledgement that is lost costs a
        delivery that finds nothing to claim. Should only the first command be done, the restore finds an entry
        without a message and drops it.
        """
        commands = ("HDEL", self.unacked_key, delivery_tag), ("ZREM", self.unacked_index_key, delivery_tag)
        try:
            self._post(*commands)
        except self.connection_errors:  # of the one before, perhaps: a fresh connection decides
            self._post(*commands)
        reach(CrashPoint.ACKED)

    def _do_restore_message(
        self, payload: Any, exchange: str, routing_key: str, pipe: Any, leftmost: bool = False
    ) -> None:
        """As in kombu, and wake somebody for the message."""
        super()._do_restore_message(payload, exchange, routing_key, pipe, leftmost)
        for queue in self._lookup(exchange, routing_key):
            self._wake(queue, lambda name, *args: getattr(pipe, name)(*args))

    # --- connect and close ---

    def _create_client(self, asynchronous: bool = False) -> Any:
        """One client for the pool: kombu makes one for every command, which costs more than the command.

        It outlives the channel: a task that was running when the connection broke can still acknowledge its message,
        by the tag that no other delivery has. In kombu that is an AttributeError, which ends the worker.
        """
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._pooled is None or (self._pooled.connection_pool is not self._pool and not self._closing):
            self._pooled = super()._create_client()
        return self._pooled

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Over a unix socket, connect in the way that starts the embedded server again.

        Of the connections of the event loop, one consumes, which kombu watches by the answers, and one carries only
        what people ask of a worker, Flower say: it is checked less often.
        """
        params: dict[str, Any] = super()._connparams(asynchronous)
        if asynchronous and "health_check_interval" in params:
            params["health_check_interval"] = CONTROL_CHECK_S
        connection_class = params["connection_class"]
        if issubclass(connection_class, redis.UnixDomainSocketConnection):
            params["connection_class"] = type("SocketConnection", (Reviving, connection_class), {})
        return params

    def close(self) -> None:
        """Close without letting the error of a dead connection out.

        In kombu 5.7.0 the first close() of a channel with a BRPOP outstanding raises, the second one finds
        `transport.client` gone, and Celery takes that AttributeError for a reason to end the worker.
        """
        self._closing = True
        self._abandon_request()
        if "_post" in self.__dict__:
            self._post.close()
        try:
            super().close()
        except (*self.connection_errors, redis.ResponseError, AttributeError) as error:
            logger.warning("channel closed on a dead connection, its unacked messages are restored later: %s", error)
            self.closed = True
            self.do_restore = False
            self._disconnect_pools()
            self._close_clients()
            if self.connection is not None:
                self.connection.close_channel(self)

    def _abandon_request(self) -> None:
        """End the outstanding command: put back what a pop has taken; a BLPOP holds nothing that could be lost."""
        connection, self._in_poll = self._in_poll, None
        if not connection:
            return
        try:
            if self._request.tag and connection.can_read(timeout=ABANDON_S):
                popped = self.client.parse_response(connection, self._request.command)
                if popped and self._request.queues[popped[0] - 1] not in self._unacknowledged:
                    self.qos.restore_by_tag(self._request.tag)
        except (*self.connection_errors, redis.ResponseError) as error:
            logger.warning("closing on a dead connection: %s", error)
        finally:
            connection.disconnect()


class Transport(stock.Transport):
    """The transport for `redis://`, `rediss://` and `redis+socket://`."""

    Channel = Channel
    brpop_timeout = 2  # s; an idle consumer then sends one command a second: a BLPOP, and an EXISTS for safety


class SentinelChannel(Channel, stock.SentinelChannel):
    """The same channel on the master that the sentinels name."""


class SentinelTransport(Transport, stock.SentinelTransport):
    """The transport for `sentinel://`."""

    Channel = SentinelChannel


# kombu ignores `broker_transport` for `redis+socket://` and takes the word before the plus instead; and it forgets it
# when it goes on to the next of several sentinels.
for _scheme, _transport in (("redis", Transport), ("sentinel", SentinelTransport)):
    TRANSPORT_ALIASES[_scheme] = f"{__name__}:{_transport.__name__}"
    _transport_cache.pop(_scheme, None)  # somebody may have used the stock one before this import
