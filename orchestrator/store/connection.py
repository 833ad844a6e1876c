"""Clients of the server that keeps the state: one per process and URL, safe across forks, with deadlines.

Nothing here knows a key or a script. Errors of the network leave this module, or a block under `guard`, as
`StoreUnavailable` with the password of the URL masked.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry
from redis.sentinel import Sentinel

from orchestrator.errors import (
    OrchestratorError,
    OutcomeUnknown,
    QueueFull,
    ServerNotStarted,
    SettingsInvalid,
    StoreUnavailable,
)
from orchestrator.settings import Settings, mask_password
from orchestrator.store import embedded
from orchestrator.store.direct import ReplyLost
from orchestrator.store.patience import NETWORK_ERRORS, Timely, cannot_write

T = TypeVar("T")

_clients: dict[tuple[Any, ...], redis.Redis] = {}
_servers: dict[str, embedded.EmbeddedServer] = {}
_lock = threading.RLock()


class Reviving:
    """Makes a connection class for unix sockets start this process's embedded server again when nobody listens.

    Nothing has been sent at that moment, so that this is the one place where trying again is always safe.
    """

    path: str

    def _connect(self) -> Any:
        try:
            return super()._connect()  # type: ignore[misc]
        except (ConnectionRefusedError, FileNotFoundError, ConnectionResetError):
            try:
                revived = embedded.revive(self.path)
            except ServerNotStarted as error:
                raise redis.ConnectionError(error.message) from error
            if not revived:
                raise
            return super()._connect()  # type: ignore[misc]


class SocketConnection(Timely, Reviving, redis.UnixDomainSocketConnection):
    """A connection of the store over a unix socket."""


class Packer:
    """Writes a command for the server. redis-py's own also looks for byte arrays among the values; we send none."""

    def pack(self, *command: Any) -> list[bytes]:
        name, *values = command
        return [pack_command((*name.split(), *values))]


def server_url(settings: Settings) -> str:
    """The URL of the server that keeps the state; joins the embedded one, and starts it, when none is configured.

    Raises:
        ServerNotStarted: the embedded server does not come up.
    """
    if settings.url is not None:
        return settings.url
    with _lock:
        server = embedded.acquire(settings.home, settings.wanted_durability)
        known = _servers.get(server.url)
        if known is None or not known.live:
            _servers[server.url] = server
        else:
            server.release()
        return server.url


def leave(url: str) -> None:
    """Close this process's clients of a URL and give up its share of the embedded server, as its end does anyway."""
    with _lock:
        for key in [key for key in _clients if key[1] == url]:
            _clients.pop(key).close()
        server = _servers.pop(url, None)
    if server is not None:
        server.release()


def connect(url: str, *, deadline_s: float) -> redis.Redis:
    """The client of this process for a URL; the first call makes sure that the server answers.

    A command waits at most deadline_s for its answer and is never sent twice: a caller that wants to try again
    knows whether that is safe.

    Raises:
        StoreUnavailable: no answer within deadline_s.
        SettingsInvalid: the URL cannot be understood.
    """
    key = (os.getpid(), url, deadline_s)
    with _lock:
        client = _clients.get(key)
        if client is None:
            client = _client(url, answer_s=deadline_s, connect_s=deadline_s)
            with guard(url):
                in_thread(deadline_s, client.ping)
            _clients[key] = client
    return client


def blocking(url: str, *, block_s: float, deadline_s: float = 5.0) -> redis.Redis:
    """A client for commands that block on the server for up to block_s (XREAD BLOCK, BLPOP); connects when used."""
    key = (os.getpid(), url, deadline_s, block_s)
    with _lock:
        if key not in _clients:
            _clients[key] = _client(url, answer_s=block_s + deadline_s, connect_s=deadline_s)
        return _clients[key]


def server_now_ms(client: Any) -> int:
    """The server's clock, in ms since the epoch: the only one that leases and times go by."""
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


@contextmanager
def visit(url: str, *, deadline_s: float) -> Iterator[redis.Redis]:
    """A client for one look at a server, closed again: for a process that will fork, which must inherit none.

    Raises:
        StoreUnavailable: no answer within deadline_s.
    """
    client = _client(url, answer_s=deadline_s, connect_s=deadline_s)
    try:
        with guard(url):
            yield client
    finally:
        client.connection_pool.disconnect()


class guard(ContextDecorator):
    """Translate errors of the server and of the way to it.

    Raises:
        OutcomeUnknown: a change was sent, and no answer came. StoreUnavailable: nothing was changed. QueueFull.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, redis.RedisError) and (told := _translated(error, self._url)) is not None:
            raise told from error


#: What a function answers when its caller may not use a command or a key in it: Valkey's words, then Redis's.
_REFUSED_INSIDE = re.compile(r"ACL failure in script|The user executing the script can't")


def _translated(error: redis.RedisError, url: str) -> OrchestratorError | None:
    """None: it is neither the server's fault nor that of the way to it."""
    masked = mask_password(url)
    if isinstance(error, ReplyLost):
        told = "did not answer in time and may have done what it was told"
        return OutcomeUnknown(f"The server {masked} {told}: {_reason(error, url)}", url=masked)
    if isinstance(error, NETWORK_ERRORS):
        return StoreUnavailable(f"The server {masked} does not answer: {_reason(error, url)}", url=masked)
    if isinstance(error, NoPermissionError) or _REFUSED_INSIDE.search(str(error)):
        return StoreUnavailable(f"The server {masked} does not permit it: {_reason(error, url)}", url=masked)
    if isinstance(error, redis.OutOfMemoryError):
        return QueueFull(f"The server {masked} has no memory left for new work", url=masked)
    if "DB index is out of range" in str(error):
        return StoreUnavailable(f"The server {masked} has no such database", url=masked)
    if "WRONGTYPE" in str(error):
        told = "holds a key that is none of ours under one of our names: does something else write to this database?"
        return StoreUnavailable(f"The server {masked} {told}", url=masked)
    if cannot_write(error):
        told = "cannot write to its disk" if "MISCONF" in str(error) else "takes no changes"
        return StoreUnavailable(f"The server {masked} {told}: {_reason(error, url)}", url=masked)
    return None


def _reason(error: Exception, url: str) -> str:
    password = urlsplit(url).password
    text = str(error) or type(error).__name__
    return text.replace(password, "***") if password else text


_CUT_PASSWORD = re.compile(r"://[^/?#]*[/?#].*@")


def _client(url: str, *, answer_s: float, connect_s: float) -> redis.Redis:
    options: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "backslashreplace",  # what is no text was put there by somebody else, and is told as such
        "socket_timeout": answer_s,
        "socket_connect_timeout": connect_s,
        "retry": Retry(NoBackoff(), 0),  # redis-py would send a command again that may have worked
        "command_packer": Packer(),
    }
    try:
        parts = urlsplit(url)
        if parts.scheme == "sentinel":
            return _sentinel_client(parts, options)
        if parts.scheme in ("unix", "redis+socket"):
            options |= {"path": unquote(parts.path), **_login(parts), **_database(parts)}
            return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=SocketConnection, **options))
        if not re.fullmatch(r"/?[0-9]*", parts.path):  # redis-py would take the first database
            raise ValueError("behind the / stands the number of a database")
        client = _timely(redis.Redis.from_url(url, socket_keepalive=True, **options))
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)  # knows its options
        return client
    except (TypeError, ValueError, redis.RedisError) as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        reason = f"there is no option {unknown[1]}" if unknown else str(error)
        if _CUT_PASSWORD.search(url):  # what is taken for a port or an option is of a password
            reason = "in a password write / ? # @ as %2F %3F %23 %40"
        raise SettingsInvalid(f"{mask_password(url)} is no URL of a server: {reason}") from None


def _sentinel_client(parts: SplitResult, options: dict[str, Any]) -> redis.Redis:
    """`sentinel://user:password@host:port,host:port/NAME/db`, or the name as `?master_name=NAME`."""
    path = [part for part in parts.path.split("/") if part]
    query = dict(parse_qsl(parts.query))
    name = query.get("master_name") or (path.pop(0) if path else "")
    hosts = [_host_and_port(host) for host in parts.netloc.rpartition("@")[2].split(",") if host]
    if not name or not hosts:
        raise ValueError("it names no master, as in sentinel://host:26379/mymaster")
    asking = {key: options[key] for key in ("socket_timeout", "socket_connect_timeout")}
    options |= {"db": int(path[0]) if path else 0, **_login(parts)}
    client: redis.Redis = Sentinel(hosts, sentinel_kwargs=asking, **options).master_for(name)  # type: ignore[no-untyped-call]
    return _timely(client)


def _timely(client: redis.Redis) -> redis.Redis:
    pool = client.connection_pool
    pool.connection_class = type("TimelyConnection", (Timely, pool.connection_class), {})
    return client


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    return (host, int(port)) if colon else (port, 26379)


def _login(parts: SplitResult) -> dict[str, str]:
    """User and password, percent-decoded; `urlsplit` reads them also where several hosts follow."""
    given = {"username": parts.username, "password": parts.password}
    return {name: unquote(value) for name, value in given.items() if value}


def _database(parts: SplitResult) -> dict[str, int]:
    """The number of the database; redis-py calls it `db`, kombu `virtual_host`."""
    query = dict(parse_qsl(parts.query))
    return {"db": int(query.get("db") or query.get("virtual_host") or 0)}


def database_of(url: str) -> int:
    """The number of the database that a URL names, 0 unless it does. Raises SettingsInvalid."""
    client = _client(url, answer_s=1, connect_s=1)  # connects when it is used
    return int(client.connection_pool.connection_kwargs.get("db") or 0)


def in_thread(seconds: float, call: Callable[[], T]) -> T:
    """Run a call in a thread and stop waiting at the deadline: looking up a name, say, has no time-out of its own.

    Raises:
        redis.TimeoutError: the call takes longer; the thread is left behind.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    for error in errors:
        raise error
    if not results:
        raise redis.TimeoutError(f"no answer within {seconds:g} s")
    return results[0]


def _after_fork() -> None:
    """A child makes its own clients; closing the parent's would do nothing good. The share of the server stays."""
    global _lock
    _lock = threading.RLock()
    _clients.clear()


os.register_at_fork(after_in_child=_after_fork)
