"""Names and numbers of the queues. The only place that knows what a priority word is called on a broker."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestrator.settings import AMQP_SCHEMES, DEFAULT_PREFIX
from orchestrator.store.load import PRIORITIES, TASKS

RUN_STEP = "orchestrator.run_step"
RING = "orchestrator.ring"
RING_ID = re.compile(r"\S+ \S+ \d+ \S+ \S+")  # agent, priority, time, box, message: _message.lua

#: kombu's Redis transport keeps one list per step, and 0 runs first. A message without a priority counts as 0.
PRIORITY_STEPS = (0, 2, 4, 6, 8)
_REDIS = dict(zip(PRIORITIES, PRIORITY_STEPS, strict=True))

#: On RabbitMQ the highest number runs first, a message without a priority counts as 0, and each queue says at its
#: declaration how many numbers it knows.
MAX_PRIORITY = 9
_RABBITMQ = {word: MAX_PRIORITY - number for word, number in _REDIS.items()}


def queue_of(agent: str, prefix: str = DEFAULT_PREFIX) -> str:
    """The queue of an agent: `agent.NAME`. Teams that share a server have prefixes, and queues, of their own."""
    return f"{'' if prefix == DEFAULT_PREFIX else prefix}agent.{agent}"


def wake_of(queue: str) -> str:
    """The list of a queue's wake-ups on Redis, beside kombu's lists, one for each priority."""
    return f"{queue}\x06\x16wake"


def agents_of(queues: Iterable[str], prefix: str = DEFAULT_PREFIX) -> tuple[str, ...]:
    """The agents whose queues are among these."""
    stem = queue_of("", prefix)
    return tuple(queue.removeprefix(stem) for queue in queues if queue.startswith(stem))


def is_rabbitmq(broker_url: str) -> bool:
    """Whether a broker is no Redis, but RabbitMQ."""
    return broker_url.startswith(AMQP_SCHEMES)


def priority_number(priority: str, broker_url: str = "redis://") -> int:
    """The number of a priority word on the broker."""
    return (_RABBITMQ if is_rabbitmq(broker_url) else _REDIS)[priority]


def task_id_of(run_id: str, step_id: str) -> str:
    """The Celery task id of a step: stable, so that Flower shows one row a step and its links keep working."""
    return f"{run_id}:{step_id}"


def step_of(task_id: str) -> tuple[str, str]:
    """The inverse of `task_id_of`."""
    run_id, _, step_id = task_id.partition(":")
    return run_id, step_id


def agent_of(box: str) -> str:
    """The agent that an inbox belongs to."""
    return box.removesuffix(TASKS)


def ring_id_of(message_id: str) -> str:
    """The Celery task id of a ring: one row a message in Flower, however often it is rung."""
    return f"message:{message_id}"
