"""`Directory`: which agents there are, who serves them now, and how long their queues are.

Presence is derived from heartbeats; nobody's state is kept in a process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import redis

from orchestrator.errors import MessageInvalid
from orchestrator.names import wrong_address
from orchestrator.store.connection import server_now_ms
from orchestrator.store.keys import Keys
from orchestrator.store.load import TASKS, AgentLoad, read_loads
from orchestrator.store.scripts import Scripts
from orchestrator.workflow.catalog import AgentInfo

Json = Any


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
        self._scripts = Scripts(client)
        self._lease_ms = lease_ms

    def heartbeat(self, worker: str, agents: Iterable[AgentInfo]) -> list[str]:
        """A worker serves these agents now. One round trip.

        Returns:
            Boxes for whose messages workers have not been rung so far, as far as `note_rung` was told.
        """
        agents = list(agents)
        now = server_now_ms(self._client)
        boxes: list[str] = []
        with self._client.pipeline(transaction=True) as pipe:
            pipe.zadd(self._keys.presence, _signs(worker, [agent.name for agent in agents], now))
            for agent in agents:
                pipe.hset(self._keys.agents, agent.name, json.dumps(agent.to_json()))
            for agent in agents:
                rung = {agent.name: agent.hears, tasks_box(agent.name): bool(agent.tasks) or agent.hears}
                for box, by_worker in rung.items():
                    if by_worker:
                        boxes.append(box)
                        pipe.hset(self._keys.doors, box, "worker")
                    else:
                        pipe.hsetnx(self._keys.doors, box, "poll")
            # Asked after the doors are set: what is sent from now on gets a ring of its own.
            pipe.hmget(self._keys.doors, [_rung(box) for box in boxes] or ["-"])
            known = pipe.execute()[-1]
        return [box for box, rung in zip(boxes, known, strict=False) if rung is None]

    def note_rung(self, boxes: Iterable[str]) -> None:
        """Workers have been rung for everything that came to these boxes before they had one."""
        self._client.hset(self._keys.doors, mapping={_rung(box): "1" for box in boxes})

    def still_serves(self, worker: str, agents: Iterable[str], at_ms: int) -> bool:
        """A worker serves what it served at its last heartbeat, at this moment of the server's clock. One command.

        False: its heartbeat, or one of the agents, was forgotten in between.
        """
        return bool(self._client.zadd(self._keys.presence, _signs(worker, agents, at_ms)) == 0)

    def register(self, name: str, capabilities: Iterable[str] = ()) -> None:
        """Make a name known whose messages are asked for by a receiver and not by a Celery worker.

        An agent that a worker serves keeps its tasks; it gets the capabilities it does not have yet.

        Raises:
            MessageInvalid: no agent can be called like that.
        """
        if wrong := wrong_address(name):
            raise MessageInvalid(f"name: {name!r} is no name of an agent: {wrong}", field="name")
        stored = self._client.hget(self._keys.agents, name)
        info = _info(stored) if stored else AgentInfo(name, has_tasks_unknown=True)
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
            pipe.hdel(self._keys.doors, *boxes_of(name), *map(_rung, boxes_of(name)))
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
        return _info(stored) if stored else None

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
        """agent -> the workers that serve it now. One round trip."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zrange(self._keys.presence, 0, -1, withscores=True)
            (seconds, micros), seen = pipe.execute()
        return self._online(seen, int(seconds) * 1000 + int(micros) // 1000)

    def _online(self, seen: Iterable[tuple[str, float]], now_ms: int) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        since_ms = now_ms - self._lease_ms
        for member, at_ms in seen:
            agent, _, worker = member.partition(" ")
            if worker and at_ms >= since_ms:
                found.setdefault(agent, []).append(worker)
        return found

    def registered(self) -> list[AgentInfo]:
        """Every agent that ever registered, by name."""
        stored = self._client.hgetall(self._keys.agents)
        return [_info(stored[name]) for name in sorted(stored)]

    def loads(self) -> list[AgentLoad]:
        """What waits for each agent that is registered or ever had a step, by name. Two round trips."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            self.ask_for_names(pipe)
            (seconds, micros), *answers = pipe.execute()
        presence, registered, queued = answers
        return self.loads_of(registered, queued, presence, int(seconds) * 1000 + int(micros) // 1000)

    def ask_for_names(self, pipe: Any) -> None:
        """Put into a pipeline what `loads_of` needs: presence, names registered, fields of the queues."""
        pipe.zrange(self._keys.presence, 0, -1, withscores=True)
        pipe.hkeys(self._keys.agents)
        pipe.hkeys(self._keys.queues)

    def loads_of(
        self, registered: Iterable[str], queued: Iterable[str], presence: Iterable[tuple[str, float]], now_ms: int
    ) -> list[AgentLoad]:
        """The loads, from what `ask_for_names` has asked for. One round trip; see `read_loads`."""
        marks = {field.split(" ")[1] for field in queued if field.startswith("mark ")}
        names = sorted({*registered, *marks})
        return read_loads(self._scripts, self._keys, names, self._online(presence, now_ms))

    def overview(self, capability: str | None = None) -> list[dict[str, Json]]:
        """`{name, capabilities, presence, activity, queue, running, workers}` of each agent.

        `queue` counts, by priority, steps, messages and handoffs that nobody has begun. Three round trips.
        """
        online = self.online()
        infos = [info for info in self.registered() if capability is None or capability in info.capabilities]
        loads = read_loads(self._scripts, self._keys, [info.name for info in infos], online)
        return [
            {
                "name": info.name,
                "capabilities": list(info.capabilities),
                "presence": "online" if load.workers else "offline",
                "activity": "busy" if load.running else "idle",
                "queue": {priority: waiting.count for priority, waiting in load.waiting.items()},
                "running": load.running,
                "workers": list(load.workers),
            }
            for info, load in zip(infos, loads, strict=True)
        ]

    def forget_absent(self) -> None:
        """Drop heartbeats that are long over."""
        self._client.zremrangebyscore(self._keys.presence, "-inf", server_now_ms(self._client) - 10 * self._lease_ms)


def _rung(box: str) -> str:
    """The field beside a box's door that says that everything in it has a ring."""
    return f"rung {box}"


@lru_cache(maxsize=4096)
def _info(stored: str) -> AgentInfo:
    # Agents change seldom and are read at each submit of a file; nobody writes to an AgentInfo.
    return AgentInfo.from_json(json.loads(stored))


def _signs(worker: str, agents: Iterable[str], at_ms: int) -> dict[str, int]:
    """What the zset of presence holds of a worker: that it serves an agent, and that somebody serves that agent."""
    return {sign: at_ms for name in agents for sign in (f"{name} {worker}", name)}
