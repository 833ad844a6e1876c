"""Functions and commands sent straight over a connection of the pool.

redis-py's client adds retries, hooks and metrics to every command; for the functions of the hot path they cost as much
as the function itself, and a function must not be repeated behind the caller's back anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, cast

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    RedisError,
    ResponseError,
    TimeoutError,
)


class ReplyLost(ConnectionError):
    """The call was sent and no answer came: the server may have run it."""


@dataclass(frozen=True, slots=True)
class Library:
    """The text of a library of functions for `FUNCTION LOAD`. `version`: a digest of it."""

    version: str
    text: str

    @property
    def name(self) -> str:
        """What the server calls it."""
        return self.text.partition("\n")[0].partition("name=")[2]

    def load(self, connection: Any) -> None:
        """Put it on the server. That it is there already is no error: another process was faster.

        Raises:
            NoPermissionError: the user may not, and says what to do.
        """
        connection.send_command("FUNCTION", "LOAD", self.text)
        try:
            connection.read_response()
        except NoPermissionError as error:
            raise NoPermissionError(f"{error}; `orchestrator doctor --load` as the server's admin does it") from None
        except ResponseError as error:
            if "already exists" not in str(error):
                raise


def forgotten(error: ResponseError) -> bool:
    """Whether the server does not have the function: it is fresh, or another version's."""
    return "Function not found" in str(error)


class DirectFunction:
    """One function of a library. The server keeps the library, also over a restart; one without it is told.

    Args:
        client: its connection pool is used.
        name: of the function.
    """

    def __init__(self, client: Any, name: str, library: Library) -> None:
        self._pool = client.connection_pool
        self._name = name
        self._library = library

    def __call__(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run it and return its answer: one round trip.

        Raises:
            ReplyLost: it was sent; whether it ran is unknown. Everything else that redis-py raises: it did not run.
        """
        return self._lend(self._run, keys, args)

    def many(self, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run it for each pair of keys and arguments, in turn, and return the answers: one round trip.

        Raises:
            What a call of one does, for the first that did not run; the others did.
        """
        return cast(list[Any], self._lend(self._run_all, calls))

    def _lend(self, work: Callable[..., Any], *given: Any) -> Any:
        connection = self._pool.get_connection()
        try:
            return work(connection, *given)
        except BaseException:  # also an interrupt: the next user must not read this answer
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)

    def _run(self, connection: Any, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return self._ask(connection, self._name, keys, args)
        except ResponseError as error:
            if not forgotten(error):
                raise
        return self._tell(connection, keys, args)

    def _run_all(self, connection: Any, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        commands = [("FCALL", self._name, len(keys), *keys, *args) for keys, args in calls]
        connection.send_packed_command(connection.pack_commands(commands))
        answers = [_answer(connection) for _ in calls]
        for i, answer in enumerate(answers):
            if isinstance(answer, ResponseError) and forgotten(answer):
                answers[i] = self._tell(connection, *calls[i])
            elif isinstance(answer, RedisError):
                raise answer
        return answers

    def _tell(self, connection: Any, keys: Sequence[str], args: Sequence[Any]) -> Any:
        self._library.load(connection)
        return self._ask(connection, self._name, keys, args)

    @staticmethod
    def _ask(connection: Any, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        # A connection that breaks while the command is sent leaves it incomplete, and the server runs no half one.
        connection.send_command("FCALL", name, len(keys), *keys, *args)
        answer = _answer(connection)
        if isinstance(answer, RedisError):
            raise answer
        return answer


def _answer(connection: Any) -> Any:
    """The next answer, which may be an error. Raises ReplyLost: there is none."""
    try:
        return connection.read_response()
    except (BusyLoadingError, AuthenticationError, ResponseError) as error:
        return error
    except (ConnectionError, TimeoutError) as error:
        raise ReplyLost(f"no answer: {error}") from error


def ask(client: Any, *command: Any) -> Any:
    """One command and its answer, which may take as long as the client's time-out. Raises what redis-py raises."""
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_command(*command)
        return connection.read_response()
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


class Post:
    """Commands whose answers nobody waits for: they are read before the next ones are sent.

    Holds one connection of the pool until `close`.
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None
        self._answers = 0
        self._lock = Lock()  # with a pool of threads, any of them may send

    def __call__(self, *commands: tuple[str, ...]) -> None:
        """Send them in one packet. Raises what redis-py raises, also for the commands before."""
        with self._lock:
            try:
                self._read_answers()
                if self._connection is None:
                    self._connection = self._pool.get_connection()
                self._connection.send_packed_command(self._connection.pack_commands(commands))
                self._answers = len(commands)
            except BaseException:
                self.close()
                raise

    def _read_answers(self) -> None:
        while self._answers:
            self._answers -= 1
            self._connection.read_response()

    def close(self) -> None:
        """Give the connection up. What was sent is done by the server all the same."""
        connection, self._connection, self._answers = self._connection, None, 0
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)
