"""Loads the Lua transitions and calls them. A script that changes a run gets `lua/_lib.lua` in front of it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import redis

from orchestrator.store.direct import DirectScript

_STANDALONE = frozenset({"take_due", "find_lost"})


@cache
def source(name: str) -> str:
    """The text of one script as it is sent to the server."""
    folder = files("orchestrator.store") / "lua"
    text = (folder / f"{name}.lua").read_text("utf-8")
    return text if name in _STANDALONE else (folder / "_lib.lua").read_text("utf-8") + text


class Scripts:
    """The scripts of one client. The server keeps them; one that has forgotten is told again."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._known: dict[str, DirectScript] = {}

    def call(self, name: str, keys: list[str], args: list[Any]) -> Any:
        """Run `lua/NAME.lua`: one round trip."""
        script = self._known.get(name)
        if script is None:
            script = self._known[name] = DirectScript(self._client, source(name))
        return script(keys, args)
