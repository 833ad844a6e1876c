"""Loads the Lua transitions and calls them.

A script that changes a run gets `lua/_lib.lua` in front of it, and most `_walk.lua` and `_end.lua`; one that changes a
message gets `lua/_message.lua`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import redis

from orchestrator.store.direct import DirectScript, ReplyLost

_STANDALONE = frozenset({
    "take_due", "find_lost", "put_schedule", "lead", "quarantine", "count_alive", "list_runs", "count_waiting",
})  # fmt: skip
#: Scripts that take on new work. A server out of memory refuses them as a whole; all others may go beyond its limit,
#: because what was accepted must end, and only that makes room again.
_NEW_WORK = frozenset({"create_run", "send_messages"})
#: Scripts that end nothing: they get `_lib.lua` alone, which is a third of what the others get.
_SHORT = frozenset({
    "claim_step", "take_step", "extend_lease", "note_progress", "load_decision", "admit_step", "redispatch_step",
    "open_child",
})  # fmt: skip
_OF_NO_RUN = frozenset({"create_run", "take_step"})
FINISH_AND_SEND = "finish_step and send"
_MORE = {"claim_step": ("_claim",), "take_step": ("_claim", "_take"), "finish_step": ("_claim", "_take")}
_OF_MESSAGES = frozenset({
    "send_messages", "claim_message", "finish_message", "wake_message", "extend_message", "ring_again", "move_message",
})  # fmt: skip


class NoRun(Exception):
    """The script is for a run that does not exist (any more)."""

    ANSWER = "NORUN"


@cache
def source(name: str) -> str:
    """The text of one script as it is sent to the server."""
    return ("#!lua\n" + _read("_room") if name in _NEW_WORK else "#!lua flags=allow-oom\n") + _body(name)


def _body(name: str) -> str:
    if name in _STANDALONE:
        return _read(name)
    if name in _OF_MESSAGES:
        return "local BASE, OPT = 0, 1\n" + _read("_message") + _read(name)
    parts = ["_lib", *([] if name in _OF_NO_RUN else ["_known"]), *([] if name in _SHORT else ["_walk", "_end"])]
    if name == FINISH_AND_SEND:
        parts += ["_message", "_send_along", *_MORE["finish_step"], "finish_step"]
        return "local BASE, OPT = 2, 11\n" + "".join(map(_read, parts))
    return "".join(map(_read, [*parts, *_MORE.get(name, ()), name]))


def _read(name: str) -> str:
    return (files("orchestrator.store") / "lua" / f"{name}.lua").read_text("utf-8")


class Scripts:
    """The scripts of one client. The server keeps them; one that has forgotten is told again."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._known: dict[str, DirectScript] = {}

    def call(self, name: str, keys: list[str], args: list[Any]) -> Any:
        """Run `lua/NAME.lua`: one round trip. Raises NoRun."""
        script = self._known.get(name)
        if script is None:
            script = self._known[name] = DirectScript(self._client, source(name))
        try:
            return script(keys, args)
        except redis.ResponseError as error:
            if NoRun.ANSWER in str(error):
                raise NoRun from None
            raise

    def ask(self, name: str, keys: list[str], args: list[Any]) -> Any:
        """Run a script that only looks: an answer that was lost leaves nothing unknown."""
        try:
            return self.call(name, keys, args)
        except ReplyLost as error:
            raise redis.ConnectionError(str(error)) from error
