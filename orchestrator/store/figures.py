"""`read_figures`: all that metrics show, in two round trips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.store.directory import Directory
from orchestrator.store.keys import Keys
from orchestrator.store.load import AgentLoad
from orchestrator.store.sums import Sum, Sums, parse_sums


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of one moment.

    `uncounted`: entries of the journal that are not in `sums` yet. `keeper_lag_ms`: for how long what is due longest is
    overdue. `memory_bytes`: what the server has taken; None: this user may not ask. `memory_limit_bytes`: 0: none.
    """

    agents: Sequence[AgentLoad]
    sums: Sequence[Sum] = ()
    uncounted: int = 0
    dead_letters: int = 0
    keeper_lag_ms: int = 0
    memory_bytes: int | None = None
    memory_limit_bytes: int = 0


def read_figures(client: Any, keys: Keys, *, lease_ms: int) -> Figures:
    """Count what is new in the journal, and read everything. One more round trip for each further 500 entries.

    Args:
        client: of redis-py; see RunReader for its type.
        lease_ms: an agent without a heartbeat for this long is offline.
    """
    sums, directory = Sums(client, keys), Directory(client, keys, lease_ms=lease_ms)
    with client.pipeline(transaction=False) as pipe:
        pipe.execute_command(*sums.command())
        pipe.hgetall(keys.sums)
        pipe.zcard(keys.dead)
        pipe.zrange(keys.timers, 0, 0, withscores=True)
        pipe.zrange(keys.message_timers, 0, 0, withscores=True)
        pipe.info("memory")
        pipe.time()
        directory.ask_for_names(pipe)
        counted, fields, dead, *timers, memory, time, presence, registered, queued = pipe.execute(raise_on_error=False)
    for answer in (fields, dead, *timers, time, presence, registered, queued):
        if isinstance(answer, Exception):
            raise answer
    left = counted[0] if isinstance(counted, list) else 1  # the server does not know the script: it is told below
    if left:
        left = sums.count()
        fields = client.hgetall(keys.sums)
    now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
    due = [score for heads in timers for _, score in heads]
    known = {} if isinstance(memory, Exception) else memory
    return Figures(
        agents=directory.loads_of(registered, queued, presence, now_ms),
        sums=sorted(parse_sums(fields), key=lambda found: (found.family, found.labels)),
        uncounted=left,
        dead_letters=dead,
        keeper_lag_ms=max(0, now_ms - round(min(due, default=now_ms))),
        memory_bytes=_figure(known, "used_memory"),
        memory_limit_bytes=_figure(known, "maxmemory") or 0,
    )


def _figure(known: dict[str, Any], name: str) -> int | None:
    return int(known[name]) if name in known else None
