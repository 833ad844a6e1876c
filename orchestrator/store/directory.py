"""`Directory`: which agents there are, who serves them now, and how long their queues are.

Presence is derived from heartbeats; nobody's state is kept in a process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import redis

from orchestrator.store.connection import server_now_ms
from orchestrator.store.keys import Keys
from orchestrator.workflow.catalog import AgentInfo

Json = Any
TASKS = "/tasks"
RANK = 10**15  # the place of a message in its inbox is RANK times the rank of its priority, and a counter
PRIORITIES = ("emergency", "urgent", "high", "medium", "low")


def tasks_box(agent: str) -> str:
    """The box of the handoffs to an agent, beside that of its messages, which has the agent's name."""
    return agent + TASKS


def boxes_of(agent: str) -> tuple[str, str]:
    """The boxes of an agent: its messages, its handoffs."""
    return agent, tasks_box(agent)


class Directory:
    """The agents of one server.

    Args:
        lease_ms: an agent without a heartbeat for this long is offline.
    """

    def __init__(self, client: redis.Redis, keys: Keys, *, lease_ms: int) -> None:
        self._client: Any = client  # see RunReader
        self._keys = keys
        self._lease_ms = lease_ms

    def heartbeat(self, worker: str, agents: Iterable[AgentInfo]) -> list[str]:
        """A worker serves these agents now. One round trip.

        Returns:
            Boxes whose messages workers have not been rung for so far.
        """
        agents = list(agents)
        now = server_now_ms(self._client)
        boxes: list[str] = []
        with self._client.pipeline(transaction=True) as pipe:
            pipe.zadd(self._keys.presence, _signs(worker, [agent.name for agent in agents], now))
            for agent in agents:
                pipe.hset(self._keys.agents, agent.name, json.dumps(agent.to_json()))
            count = len(pipe)
            for agent in agents:
                rung = {agent.name: agent.hears, tasks_box(agent.name): bool(agent.tasks) or agent.hears}
                for box, by_worker in rung.items():
                    boxes.append(box)
                    pipe.hget(self._keys.doors, box)
                    if by_worker:
                        pipe.hset(self._keys.doors, box, "worker")
                    else:
                        pipe.hsetnx(self._keys.doors, box, "poll")
            before = pipe.execute()[count::2]
        return [box for box, door in zip(boxes, before, strict=True) if door == "poll"]

    def still_serves(self, worker: str, agents: Iterable[str], at_ms: int) -> bool:
        """A worker serves what it served at its last heartbeat, at this moment of the server's clock. One command.

        False: its heartbeat, or one of the agents, was forgotten in between.
        """
        return bool(self._client.zadd(self._keys.presence, _signs(worker, agents, at_ms)) == 0)

    def register(self, name: str, capabilities: Iterable[str] = ()) -> None:
        """Make a name known whose messages are asked for by a receiver and not by a Celery worker.

        An agent that a worker serves keeps its tasks; it gets the capabilities it does not have yet.
        """
        stored = self._client.hget(self._keys.agents, name)
        info = AgentInfo.from_json(json.loads(stored)) if stored else AgentInfo(name, has_tasks_unknown=True)
        able = tuple(dict.fromkeys((*info.capabilities, *capabilities)))
        with self._client.pipeline(transaction=True) as pipe:
            pipe.hset(self._keys.agents, name, json.dumps(replace(info, capabilities=able).to_json()))
            for box in boxes_of(name):
                pipe.hsetnx(self._keys.doors, box, "poll")
            pipe.execute()

    def unregister(self, name: str) -> bool:
        """Forget a name. What waits in its inbox stays. False: there was none."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.hdel(self._keys.agents, name)
            pipe.hdel(self._keys.doors, *boxes_of(name))
            pipe.zrem(self._keys.presence, name)
            return bool(pipe.execute()[0])

    def attend(self, receiver: str, name: str) -> None:
        """A receiver that is no worker takes this agent's messages now."""
        self._client.zadd(self._keys.presence, _signs(receiver, [name], server_now_ms(self._client)))

    def announce(self, event: str, name: str, *, most: int) -> None:
        """Tell the journal that an agent started or stopped. `most`: entries the journal keeps."""
        self._client.xadd(self._keys.journal, {"e": event, "agent": name}, maxlen=most, approximate=True)

    def leave(self, worker: str, agents: Iterable[str]) -> None:
        """A worker, or another receiver, stops in an orderly way."""
        names = list(agents)
        if not names:
            return
        self._client.zrem(self._keys.presence, *(f"{name} {worker}" for name in names))
        online = self.online()
        gone = [name for name in names if name not in online]
        if gone:
            self._client.zrem(self._keys.presence, *gone)

    def names(self) -> list[str]:
        """Every registered name, sorted."""
        return sorted(self._client.hkeys(self._keys.agents))

    def info(self, name: str) -> AgentInfo | None:
        stored = self._client.hget(self._keys.agents, name)
        return AgentInfo.from_json(json.loads(stored)) if stored else None

    def least_loaded(self, capability: str, task: str | None = None) -> str | None:
        """The online agent with this capability, and task, that has least to do per worker; by name where equal."""
        able = [agent for agent in self.overview(capability) if agent["presence"] == "online"]
        if task is not None:
            having = {info.name for info in self.registered() if info.task(task)}
            able = [agent for agent in able if agent["name"] in having]
        if not able:
            return None

        def load(agent: dict[str, Json]) -> tuple[float, str]:
            return (agent["running"] + sum(agent["queue"].values())) / len(agent["workers"]), agent["name"]

        return str(min(able, key=load)["name"])

    def online(self) -> dict[str, list[str]]:
        """agent -> the workers that serve it now."""
        found: dict[str, list[str]] = {}
        since_ms = server_now_ms(self._client) - self._lease_ms
        for member in self._client.zrangebyscore(self._keys.presence, since_ms, "+inf"):
            agent, _, worker = member.partition(" ")
            if worker:
                found.setdefault(agent, []).append(worker)
        return found

    def registered(self) -> list[AgentInfo]:
        """Every agent that ever registered, by name."""
        stored = self._client.hgetall(self._keys.agents)
        return [AgentInfo.from_json(json.loads(stored[name])) for name in sorted(stored)]

    def overview(self, capability: str | None = None) -> list[dict[str, Json]]:
        """`{name, capabilities, presence, activity, queue, running, workers}` of each agent. Two round trips.

        `queue` counts, by priority, steps, messages and handoffs that nobody has begun.
        """
        online = self.online()
        infos = [info for info in self.registered() if capability is None or capability in info.capabilities]
        with self._client.pipeline(transaction=False) as pipe:
            for info in infos:
                pipe.hget(self._keys.queues, f"running {info.name}")
                for rank, priority in enumerate(PRIORITIES):
                    token = f"{info.name} {priority} "
                    pipe.zlexcount(self._keys.ready, f"[{token}", f"[{token}\xff")
                    for box in boxes_of(info.name):
                        pipe.zcount(self._keys.inbox(box), rank * RANK, f"({(rank + 1) * RANK}")
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
                "queue": {priority: next(rows) + next(rows) + next(rows) for priority in PRIORITIES},
                "running": running,
                "workers": sorted(online.get(info.name, [])),
            })
        return found

    def forget_absent(self) -> None:
        """Drop heartbeats that are long over."""
        self._client.zremrangebyscore(self._keys.presence, "-inf", server_now_ms(self._client) - 10 * self._lease_ms)


def _signs(worker: str, agents: Iterable[str], at_ms: int) -> dict[str, int]:
    """What the zset of presence holds of a worker: that it serves an agent, and that somebody serves that agent."""
    return {sign: at_ms for name in agents for sign in (f"{name} {worker}", name)}
