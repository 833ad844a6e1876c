"""`Directory`: which agents there are, who serves them now, and how long their queues are.

Presence is derived from heartbeats; nobody's state is kept in a process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import redis

from orchestrator.store.keys import Keys
from orchestrator.workflow.catalog import AgentInfo

Json = Any
PRIORITIES = ("emergency", "urgent", "high", "medium", "low")


class Directory:
    """The agents of one server.

    Args:
        lease_ms: an agent without a heartbeat for this long is offline.
    """

    def __init__(self, client: redis.Redis, keys: Keys, *, lease_ms: int) -> None:
        self._client: Any = client  # see RunReader
        self._keys = keys
        self._lease_ms = lease_ms

    def heartbeat(self, worker: str, agents: Iterable[AgentInfo]) -> None:
        """A worker serves these agents now. One round trip."""
        now = self._now_ms()
        with self._client.pipeline(transaction=True) as pipe:
            for agent in agents:
                pipe.hset(self._keys.agents, agent.name, json.dumps(agent.to_json()))
                pipe.zadd(self._keys.presence, {f"{agent.name} {worker}": now})
            pipe.execute()

    def leave(self, worker: str, agents: Iterable[str]) -> None:
        """A worker stops in an orderly way."""
        members = [f"{agent} {worker}" for agent in agents]
        if members:
            self._client.zrem(self._keys.presence, *members)

    def online(self) -> dict[str, list[str]]:
        """agent -> the workers that serve it now."""
        found: dict[str, list[str]] = {}
        for member in self._client.zrangebyscore(self._keys.presence, self._now_ms() - self._lease_ms, "+inf"):
            agent, _, worker = member.partition(" ")
            found.setdefault(agent, []).append(worker)
        return found

    def registered(self) -> list[AgentInfo]:
        """Every agent that ever registered, by name."""
        stored = self._client.hgetall(self._keys.agents)
        return [AgentInfo.from_json(json.loads(stored[name])) for name in sorted(stored)]

    def overview(self, capability: str | None = None) -> list[dict[str, Json]]:
        """`{name, capabilities, presence, activity, queue, running, workers}` of each agent. Two round trips."""
        online = self.online()
        infos = [info for info in self.registered() if capability is None or capability in info.capabilities]
        with self._client.pipeline(transaction=False) as pipe:
            for info in infos:
                pipe.hget(self._keys.queues, f"running {info.name}")
                for priority in PRIORITIES:
                    token = f"{info.name} {priority} "
                    pipe.zlexcount(self._keys.ready, f"[{token}", f"[{token}\xff")
            rows = iter(pipe.execute())
        found = []
        for info in infos:
            counted = max(0, int(next(rows) or 0))
            running = counted if info.name in online else 0  # what a dead worker held is not running
            found.append({
                "name": info.name,
                "capabilities": list(info.capabilities),
                "presence": "online" if info.name in online else "offline",
                "activity": "busy" if running else "idle",
                "queue": {priority: next(rows) for priority in PRIORITIES},
                "running": running,
                "workers": sorted(online.get(info.name, [])),
            })
        return found

    def forget_absent(self) -> None:
        """Drop heartbeats that are long over."""
        self._client.zremrangebyscore(self._keys.presence, "-inf", self._now_ms() - 10 * self._lease_ms)

    def _now_ms(self) -> int:
        seconds, micros = self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000
