"""Makes one library of the Lua transitions, which the server keeps, and calls its functions.

The library is what stands in the files `lua/_NAME.lua`, built once, and a function for each `lua/NAME.lua`. Their names
end in a digest of the text, so that processes of two versions can use one server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis

from orchestrator.store.direct import DirectFunction, Library, ReplyLost

_FOLDER = files("orchestrator.store") / "lua"
#: What the transitions share; each file uses only what stands in those before it.
_SHARED = ("_lib", "_walk", "_end", "_rounds", "_claim", "_take", "_message", "_send_along", "_pick", "_room")
_STANDALONE = frozenset({
    "take_due", "find_lost", "put_schedule", "lead", "quarantine", "count_alive", "list_runs", "count_waiting",
    "count_journal",
})  # fmt: skip
_OF_MESSAGES = frozenset({
    "send_messages", "claim_message", "finish_message", "wake_message", "extend_message", "ring_again", "move_message",
    "take_message", "refuse_message",
})  # fmt: skip
_OF_NO_RUN = frozenset({"create_run", "take_step"})
#: What takes on new work. A server out of memory refuses it as a whole; all else may go beyond the limit, because what
#: was accepted must end, and only that makes room again.
_NEW_WORK = frozenset({"create_run", "send_messages"})
_REFUSED = _NEW_WORK | {"add_log"}  # what is logged is not worth the last of it either


class NoRun(Exception):
    """The script is for a run that does not exist (any more)."""

    ANSWER = "NORUN"


@cache
def library() -> Library:
    """The library of this version."""
    names = sorted(file.name.removesuffix(".lua") for file in _FOLDER.iterdir())
    transitions = [_transition(name) for name in names if not name.startswith("_")]
    text = "".join([*map(_read, _SHARED), *transitions])
    version = sha1(text.encode()).hexdigest()[:8]
    head = f"#!lua name=orchestrator_{version}\nlocal VERSION = '{version}'\n"
    return Library(version, head + text)


def function_name(name: str) -> str:
    """What the function of `lua/NAME.lua` is called on the server."""
    return f"{name}_{library().version}"


def _transition(name: str) -> str:
    flags = "" if name in _REFUSED else "'allow-oom'"
    return f"transition('{name}', {{{flags}}}, function(KEYS, ARGV)\n{_opening(name)}{_read(name)}end)\n"


def _opening(name: str) -> str:
    """How a transition begins."""
    if name in _STANDALONE:
        return ""
    if name in _OF_MESSAGES:
        return "open_messages(KEYS, ARGV)\n"
    known = "" if name in _OF_NO_RUN else f"if not PLAN then return redis.error_reply('{NoRun.ANSWER}') end\n"
    return "open_run(KEYS, ARGV)\n" + known


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text("utf-8")


class Scripts:
    """The transitions, for one client."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._known: dict[str, DirectFunction] = {}

    def call(self, name: str, keys: list[str], args: list[Any]) -> Any:
        """Run `lua/NAME.lua`: one round trip. Raises NoRun."""
        try:
            return self._function(name)(keys, args)
        except redis.ResponseError as error:
            if NoRun.ANSWER in str(error):
                raise NoRun from None
            raise

    def many(self, name: str, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        """Run it for each pair of keys and arguments: one round trip. For scripts that do not raise NoRun."""
        return self._function(name).many(calls)

    def _function(self, name: str) -> DirectFunction:
        function = self._known.get(name)
        if function is None:
            function = self._known[name] = DirectFunction(self._client, function_name(name), library())
        return function

    def ask(self, name: str, keys: list[str], args: list[Any]) -> Any:
        """Run a script that only looks: an answer that was lost leaves nothing unknown."""
        with _only_looking():
            return self.call(name, keys, args)

    def ask_many(self, name: str, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        """The same for each pair of keys and arguments: one round trip; none if there is none."""
        with _only_looking():
            return self.many(name, calls) if calls else []


@contextmanager
def _only_looking() -> Iterator[None]:
    try:
        yield
    except ReplyLost as error:
        raise redis.ConnectionError(str(error)) from error
