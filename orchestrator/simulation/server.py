"""`MemoryServer`: as much of a Redis server as the scripts of a run need, in memory, with a virtual clock.

The scripts are the ones that the real server runs, in a Lua of the same version; only the commands they call are
written here again. So a simulated run cannot differ from a real one in what it does, only in how long it takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from lupa import lua51

from orchestrator.store.scripts import NoRun, function_name, library

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z: every simulation is the same
Json = Any


class MemoryServer:
    """The commands, called as redis-py calls them, and by the scripts. Keys are never expired."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self._ticks = 0
        self._data: dict[str, Any] = {}
        self._commands: dict[str, Callable[..., Any]] = {
            name.removeprefix("_do_").upper(): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }

    def command(self, name: str, *args: str) -> Any:
        """Run one command. Raises KeyError for one that is not known here."""
        return self._commands[name.upper()](*args)

    # --- as redis-py has them ----------------------------------------------------------------------------------

    def hget(self, key: str, field: str) -> str | None:
        return self._do_hget(key, field)

    def hmget(self, key: str, *fields: str) -> list[str | None]:
        return self._do_hmget(key, *fields)

    def hgetall(self, key: str) -> dict[str, str]:
        return dict(self._hash(key))

    def hset(self, key: str, mapping: dict[str, str]) -> None:
        self._hash(key).update(mapping)

    def get(self, key: str) -> str | None:
        return self._do_get(key)

    def pexpire(self, key: str, ms: int) -> None: ...

    def zrem(self, key: str, *members: str) -> int:
        return self._do_zrem(key, *members)

    def timers(self, key: str) -> list[tuple[str, float]]:
        """Members and scores of a zset, the lowest first."""
        return self._ordered(key)

    def events(self, key: str) -> list[dict[str, str]]:
        """The entries of a stream."""
        return list(self._data.get(key, []))

    def pipeline(self, transaction: bool = True) -> Pipeline:
        return Pipeline(self)

    # --- commands ----------------------------------------------------------------------------------------------

    def _hash(self, key: str) -> dict[str, str]:
        found: dict[str, str] = self._data.setdefault(key, {})
        return found

    def _ordered(self, key: str) -> list[tuple[str, float]]:
        return sorted(self._data.get(key, {}).items(), key=lambda pair: (pair[1], pair[0]))

    def _do_time(self) -> list[str]:
        self._ticks += 1  # no two scripts at the same microsecond
        return [str(self.now_ms // 1000), str(self.now_ms % 1000 * 1000 + self._ticks % 1000)]

    def _do_hget(self, key: str, field: str) -> str | None:
        found: str | None = self._data.get(key, {}).get(field)
        return found

    def _do_hmget(self, key: str, *fields: str) -> list[str | None]:
        found = self._data.get(key, {})
        return [found.get(field) for field in fields]

    def _do_hset(self, key: str, *pairs: str) -> int:
        self._hash(key).update(zip(pairs[::2], pairs[1::2], strict=True))
        return 1

    def _do_hsetnx(self, key: str, field: str, value: str) -> int:
        self._hash(key).setdefault(field, value)
        return 1

    def _do_hdel(self, key: str, *fields: str) -> int:
        return self._drop(key, fields)

    def _do_hexists(self, key: str, field: str) -> int:
        return int(field in self._data.get(key, {}))

    def _do_hgetall(self, key: str) -> list[str]:
        return [part for pair in self._data.get(key, {}).items() for part in pair]

    def _do_hincrby(self, key: str, field: str, by: str) -> int:
        value = int(self._hash(key).get(field, "0")) + int(by)
        self._hash(key)[field] = str(value)
        return value

    def _do_zadd(self, key: str, *words: str) -> int:
        only_new = words[0] == "NX"
        pairs = words[1:] if only_new else words
        members = self._data.setdefault(key, {})
        for score, member in zip(pairs[::2], pairs[1::2], strict=True):
            if not (only_new and member in members):
                members[member] = float(score)
        return 1

    def _do_zrem(self, key: str, *members: str) -> int:
        return self._drop(key, members)

    def _do_zcard(self, key: str) -> int:
        return len(self._data.get(key, {}))

    def _do_zscore(self, key: str, member: str) -> str | None:
        score = self._data.get(key, {}).get(member)
        return None if score is None else _number(score)

    def _do_zrange(self, key: str, first: str, last: str, *words: str) -> list[str]:
        found = self._ordered(key)
        start, stop = (at + len(found) if at < 0 else at for at in (int(first), int(last)))
        if start < 0:
            return []  # as `ZRANGE key -3 -3` of two members
        chosen = found[start : stop + 1]
        return [part for member, score in chosen for part in ((member, _number(score)) if words else (member,))]

    def _do_zpopmin(self, key: str) -> list[str]:
        found = self._ordered(key)[:1]
        for member, score in found:
            self._drop(key, [member])
            return [member, _number(score)]
        return []

    def _do_zcount(self, key: str, first: str, last: str) -> int:
        return sum(float(first) <= score <= float(last) for _, score in self._ordered(key))

    def _do_zremrangebyscore(self, key: str, first: str, last: str) -> int:
        return self._drop(key, [m for m, score in self._ordered(key) if float(first) <= score <= float(last)])

    def _do_sadd(self, key: str, *members: str) -> int:
        self._data.setdefault(key, {}).update(dict.fromkeys(members, 0.0))
        return 1

    def _do_srem(self, key: str, *members: str) -> int:
        return self._drop(key, members)

    def _do_sismember(self, key: str, member: str) -> int:
        return int(member in self._data.get(key, {}))

    def _do_scard(self, key: str) -> int:
        return len(self._data.get(key, {}))

    def _do_get(self, key: str) -> str | None:
        found: str | None = self._data.get(key)
        return found

    def _do_set(self, key: str, value: str, *words: str) -> str:
        self._data[key] = value
        return "OK"

    def _do_exists(self, *keys: str) -> int:
        return sum(bool(self._data.get(key)) for key in keys)

    def _do_xadd(self, key: str, *words: str) -> str:
        at = words.index("*")
        self._data.setdefault(key, []).append(dict(zip(words[at + 1 :: 2], words[at + 2 :: 2], strict=True)))
        return "0-0"

    def _nothing(self, *words: str) -> int:
        return 0

    # What only wakes somebody, or frees memory, has no one to wake and nothing to free here.
    _do_lpush = _do_ltrim = _do_pexpire = _do_persist = _do_copy = _do_rename = _nothing

    def _drop(self, key: str, names: Iterable[str]) -> int:
        found = self._data.get(key, {})
        return sum(found.pop(name, None) is not None for name in names)


class Pipeline:
    """Commands whose answers come together."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **named: self._calls.append((name, args, named))

    def execute(self) -> list[Any]:
        return [getattr(self._server, name)(*args, **named) for name, args, named in self._calls]


class MemoryScripts:
    """The store's scripts on a `MemoryServer`; see `store.scripts.Scripts`."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._lua = lua51.LuaRuntime(unpack_returned_tuples=True, register_eval=False)
        self._functions: dict[str, Any] = {}
        call, decode, encode = self._call, self._decode, self._encode
        self._lua.globals().redis = self._lua.table_from(
            {
                "call": call,
                "pcall": lambda *_: False,
                "error_reply": lambda text: self._lua.table_from({"err": text}),
                "register_function": self._register,
            }
        )
        self._lua.globals().cjson = self._lua.table_from({"decode": decode, "encode": encode})
        self._lua.execute(library().text.partition("\n")[2])  # after the line for the server

    def call(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script and return its answer as redis-py would."""
        table = self._lua.table_from
        found = self._functions[function_name(name)](table(list(keys)), table([_text(arg) for arg in args]))
        if lua51.lua_type(found) == "table" and found["err"]:
            raise NoRun
        return self._reply(found)

    def many(self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run it for each pair of keys and arguments."""
        return [self.call(name, keys, args) for keys, args in calls]

    def _register(self, function: Any) -> None:
        self._functions[function["function_name"]] = function["callback"]

    def _call(self, name: str, *args: Any) -> Any:
        reply = self._server.command(name, *map(_text, args))
        if reply is None:
            return False
        return (
            self._lua.table_from([False if part is None else part for part in reply])
            if isinstance(reply, list)
            else reply
        )

    def _reply(self, value: Any) -> Any:
        if lua51.lua_type(value) == "table":
            found: list[Any] = []
            while (part := value[len(found) + 1]) is not None:
                found.append(self._reply(part))
            return found
        if isinstance(value, bool):
            return 1 if value else None
        return int(value) if isinstance(value, float) else value

    def _decode(self, text: str) -> Any:
        return self._to_lua(json.loads(text))

    def _to_lua(self, value: Json) -> Any:
        if isinstance(value, dict):
            return self._lua.table_from({key: self._to_lua(item) for key, item in value.items()})
        if isinstance(value, list):
            return self._lua.table_from([self._to_lua(item) for item in value])
        return value

    def _encode(self, value: Any) -> str:
        return json.dumps(self._to_json(value), ensure_ascii=False, separators=(",", ":"))

    def _to_json(self, value: Any) -> Json:
        if lua51.lua_type(value) != "table":
            return int(value) if isinstance(value, float) and value == math.floor(value) else value
        items = dict(value.items())
        if items and all(isinstance(key, (int, float)) for key in items):
            return [self._to_json(items[at]) for at in sorted(items)]
        return {_text(key): self._to_json(item) for key, item in items.items()}


def _text(value: Any) -> str:
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return str(int(value)) if value == math.floor(value) else repr(value)
