"""A proxy between workers and the server that spoils the link: toxics as in Toxiproxy, and two that read the protocol.

It runs in a thread of its own. `worker_url=proxy.url` puts it before the workers only. Everything random is seeded.
`Echo`, at the end, is no part of the link: it sends every doorbell several times.
"""

from __future__ import annotations

import asyncio
import codecs
import heapq
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import redis

from orchestrator.store.scripts import function_name

Stream = Literal["up", "down"]  # client to server, server to client
Match = Callable[[list[bytes]], bool]  # the words of a command
CHUNK_BYTES = 65536
SEPARATOR = b"\x06\x16"  # of kombu, between a queue and its priority
MOMENT_S = 0.02  # between two looks at whether a toxic is still there


class Cut(Exception):
    """The connection ends here, by RST if `reset`."""

    def __init__(self, *, reset: bool = True) -> None:
        self.reset = reset


@dataclass(eq=False)
class Toxic:
    """What is done to each piece of data of a stream. `active` until it is removed."""

    stream: Stream = "down"
    active: bool = True

    async def treat(self, data: bytes, link: Link, chance: random.Random) -> list[bytes]:
        """The pieces to pass on; sleeps; raises Cut."""
        return [data]

    async def at_end(self) -> None:
        """Before the other side's end is passed on."""


@dataclass(eq=False)
class Latency(Toxic):
    """Delays each piece by `ms`, give or take `jitter_ms`."""

    ms: float = 0.0
    jitter_ms: float = 0.0

    async def treat(self, data: bytes, link: Link, chance: random.Random) -> list[bytes]:
        await asyncio.sleep(max(0.0, self.ms + chance.uniform(-self.jitter_ms, self.jitter_ms)) / 1000)
        return [data]


@dataclass(eq=False)
class Bandwidth(Toxic):
    """So many bytes a second, on each connection."""

    bytes_s: float = 10_000

    async def treat(self, data: bytes, link: Link, chance: random.Random) -> list[bytes]:
        await asyncio.sleep(len(data) / self.bytes_s)
        return [data]


@dataclass(eq=False)
class Slicer(Toxic):
    """Cuts data into pieces of 1 to 2 x `size` - 1 bytes, which leave as packets of their own."""

    size: int = 1

    async def treat(self, data: bytes, link: Link, chance: random.Random) -> list[bytes]:
        pieces = []
        while data:
            size = chance.randint(1, 2 * self.size - 1)
            pieces.append(data[:size])
            data = data[size:]
        return pieces


@dataclass(eq=False)
class Timeout(Toxic):
    """Nothing passes, nobody is told: a half-open connection. With `ms`, it is closed after that. What was held flows
    on when the toxic is removed, as TCP does when a cable is plugged in again."""

    ms: float = 0.0

    async def treat(self, data: bytes, link: Link, chance: random.Random) -> list[bytes]:
        until_s = time.monotonic() + self.ms / 1000
        while self.active:
            if self.ms and time.monotonic() > until_s:
                raise Cut(reset=False)
            await asyncio.sleep(MOMENT_S)
        return [data]


@dataclass(eq=False)
class ResetPeer(Toxic):
    """RST instead of data, after `ms`."""

    ms: float = 0.0

    async def treat(self, data: bytes, link: Link, chance: random.Random) -> list[bytes]:
        await asyncio.sleep(self.ms / 1000)
        raise Cut


@dataclass(eq=False)
class SlowClose(Toxic):
    """The end of a connection is passed on after `ms`."""

    ms: float = 0.0

    async def at_end(self) -> None:
        await asyncio.sleep(self.ms / 1000)


@dataclass(eq=False)
class LimitData(Toxic):
    """The connection ends by RST after so many bytes; with `spread`, at a random byte up to there."""

    size_bytes: int = 0
    spread: bool = False
    _left: dict[int, int] = field(default_factory=dict)

    async def treat(self, data: bytes, link: Link, chance: random.Random) -> list[bytes]:
        left = self._left.setdefault(id(link), chance.randrange(self.size_bytes) if self.spread else self.size_bytes)
        self._left[id(link)] = left - len(data)
        if left >= len(data):
            return [data]
        link.last_words = data[:left]
        del self._left[id(link)]
        raise Cut


@dataclass(eq=False)
class DropReply(Toxic):
    """A command that matches reaches the server; with probability `p` its reply is lost and the connection ends.

    With `first` the first one's is lost for sure, so that few commands are enough to see what comes of it.
    """

    match: Match = lambda words: True
    p: float = 1.0
    first: bool = False
    dropped: int = 0


@dataclass(eq=False)
class ResetAfter(Toxic):
    """RST right behind every `n`th command that matches, over all connections."""

    match: Match = lambda words: True
    n: int = 1
    seen: int = 0


def script(name: str) -> Match:
    """A match: calls of `store/lua/NAME.lua`, such as `send_messages` or `finish_step`."""
    wanted = [b"FCALL", function_name(name).encode()]
    return lambda words: [words[0].upper(), *words[1:2]] == wanted


def command(name: str, part: str = "") -> Match:
    """A match: commands of a name, one of whose words holds `part`: a key, a queue, the SHA of a script."""
    wanted, needed = name.upper().encode(), part.encode()
    return lambda words: words[0].upper() == wanted and any(needed in word for word in words)


class Commands:
    """Cuts a stream of RESP requests into commands."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        """The words of each command that is whole now."""
        self._buffer += data
        while (found := self._next()) is not None:
            size, words = found
            self._buffer = self._buffer[size:]
            yield words

    def _next(self) -> tuple[int, list[bytes]] | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        if self._buffer[:1] != b"*":
            return end + 2, self._buffer[:end].split() or [b""]
        at, words = end + 2, []
        for _ in range(int(self._buffer[1:end])):
            end = self._buffer.find(b"\r\n", at)
            if end < 0:
                return None
            size = int(self._buffer[at + 1 : end])
            at = end + 2 + size + 2
            if at > len(self._buffer):
                return None
            words.append(self._buffer[at - 2 - size : at - 2])
        return at, words


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.commands = Commands()
        self.dropping = False
        self.last_words = b""
        self.forgotten = False

    def end(self, *, reset: bool) -> None:
        """The server's side ends by FIN, so that it does what it was sent before."""
        self.server.close()
        if reset:
            with suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                self.client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.client.transport.abort()
        else:
            self.client.close()


class Proxy:
    """Listens on a port of this machine and passes everything on to a server. A context manager.

    Args:
        upstream: the URL of the server, over TCP or a unix socket.
        seed: of the toxics.
    """

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        self._parts = urlsplit(upstream)
        self._chance = random.Random(seed)
        self._toxics: list[Toxic] = []
        self._links: set[Link] = set()
        self._errors: list[Exception] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self.port = 0
        self.resets = 0

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._call(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        if self._errors:
            raise self._errors[0]

    @property
    def url(self) -> str:
        """As the server's, at the proxy's address."""
        secret = f"{self._parts.netloc.rpartition('@')[0]}@" if "@" in self._parts.netloc else ""
        database = self._parts.path if self._parts.scheme in ("redis", "rediss") else ""
        return f"redis://{secret}127.0.0.1:{self.port}{database or '/0'}"

    @contextmanager
    def toxic(self, *toxics: Toxic) -> Iterator[None]:
        """These toxics for the time of a `with`."""
        self.add(*toxics)
        try:
            yield
        finally:
            self.remove(*toxics)

    def add(self, *toxics: Toxic) -> None:
        self._toxics = [*self._toxics, *toxics]

    def remove(self, *toxics: Toxic) -> None:
        for toxic in toxics:
            toxic.active = False
        self._toxics = [toxic for toxic in self._toxics if toxic.active]

    def down(self) -> None:
        """Connections end by RST, new ones are refused, until `up`."""
        self._call(self._down())

    def up(self) -> None:
        self._call(self._up())

    def cut(self) -> None:
        """End all connections by RST; new ones are taken."""
        self._call(self._cut())

    def forget(self) -> None:
        """The connections that there are carry nothing any more, for good, and nobody is told; new ones work. As when
        a router has lost its table."""
        self._call(self._forget())

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _up(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _down(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        for link in list(self._links):
            link.end(reset=True)

    async def _forget(self) -> None:
        for link in self._links:
            link.forgotten = True

    async def _finish(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await self._connect()
        except OSError:
            to_client.transport.abort()
            return
        link = Link(to_client, to_server)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump("up", from_client, to_server, link), self._pump("down", from_server, to_client, link)
            )
        except Cut as cut:
            self.resets += cut.reset
            if link.last_words:
                to_client.write(link.last_words)
                await asyncio.sleep(MOMENT_S)
            link.end(reset=cut.reset)
        except (OSError, asyncio.CancelledError):
            link.end(reset=True)
        except Exception as error:  # a mistake in a toxic or a match
            self._errors.append(error)
            link.end(reset=True)
        finally:
            link.end(reset=False)
            self._links.discard(link)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._parts.scheme in ("redis", "rediss"):
            return await asyncio.open_connection(self._parts.hostname, self._parts.port or 6379)
        return await asyncio.open_unix_connection(unquote(self._parts.path or self._parts.netloc))

    async def _pump(
        self, stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if stream == "down" and link.dropping:
                raise Cut  # the reply is here, so the command is done
            sent = list(link.commands.feed(data)) if stream == "up" else []
            self._drop_replies(sent, link)
            pieces = [data]
            for toxic in [toxic for toxic in self._toxics if toxic.stream == stream]:
                pieces = [part for piece in pieces for part in await toxic.treat(piece, link, self._chance)]
            if link.forgotten:
                await asyncio.Event().wait()
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if len(pieces) > 1:
                    await asyncio.sleep(0)  # a packet each
            self._reset_after(sent)
        for toxic in self._toxics:
            await toxic.at_end()
        raise Cut(reset=False)

    def _drop_replies(self, sent: list[list[bytes]], link: Link) -> None:
        for toxic in [toxic for toxic in self._toxics if isinstance(toxic, DropReply)]:
            if not any(toxic.match(words) for words in sent):
                continue
            if (toxic.first and not toxic.dropped) or self._chance.random() < toxic.p:
                toxic.dropped += 1
                link.dropping = True

    def _reset_after(self, sent: list[list[bytes]]) -> None:
        for toxic in [toxic for toxic in self._toxics if isinstance(toxic, ResetAfter)]:
            before, toxic.seen = toxic.seen, toxic.seen + sum(toxic.match(words) for words in sent)
            if toxic.seen // toxic.n > before // toxic.n:
                raise Cut


class Echo:
    """`duplicate_push`: pushes every doorbell again, until there are 2 to 5 of it, each after a random moment: they
    come in another order. It hears of them by MONITOR, because scripts push them too. A context manager.

    Args:
        times: the least and the most copies, the first included.
        queues: what the names of the lists begin with.
    """

    def __init__(
        self, url: str, *, seed: int, times: tuple[int, int] = (2, 5), delay_s: float = 0.5, queues: str = "agent."
    ) -> None:
        self.pushed = 0
        self._client = redis.Redis.from_url(url.replace("redis+socket", "unix"))
        self._monitor: Any = self._client.connection_pool.get_connection()
        self._chance = random.Random(seed)
        self._times, self._delay_s, self._queues = times, delay_s, queues.encode()
        self._own: Counter[tuple[bytes, bytes]] = Counter()
        self._due: list[tuple[float, bytes, bytes]] = []
        self._over = False
        self._thread = threading.Thread(target=self._run, name="echo", daemon=True)

    def __enter__(self) -> Echo:
        self._monitor.send_command("MONITOR")
        self._monitor.read_response()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(10)
        self._monitor.disconnect()
        self._client.close()

    def _run(self) -> None:
        while not self._over or self._due:
            if self._monitor.can_read(MOMENT_S):
                self._hear(self._monitor.read_response(disable_decoding=True))
            while self._due and (self._due[0][0] <= time.monotonic() or self._over):
                self._push(*heapq.heappop(self._due)[1:])

    def _hear(self, line: bytes) -> None:
        words = [codecs.escape_decode(word)[0] for word in re.findall(rb'"((?:\\.|[^"\\])*)"', line)]
        if len(words) != 3 or words[0].upper() != b"LPUSH" or not words[1].startswith(self._queues) or self._over:
            return
        queue, doorbell = bytes(words[1]), bytes(words[2])
        if queue.endswith(b"wake"):
            return
        if self._own[queue, doorbell]:
            self._own[queue, doorbell] -= 1
            return
        for _ in range(self._chance.randint(*self._times) - 1):
            due_s = time.monotonic() + self._chance.uniform(0, self._delay_s)
            heapq.heappush(self._due, (due_s, queue, doorbell))

    def _push(self, queue: bytes, doorbell: bytes) -> None:
        self._own[queue, doorbell] += 1
        self.pushed += 1
        self._client.lpush(queue, doorbell)
        self._client.lpush(queue.split(SEPARATOR)[0] + SEPARATOR + b"wake", "1")
