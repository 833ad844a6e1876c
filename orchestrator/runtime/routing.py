"""Names and numbers of the queues. The only place that knows what a priority word is called on a broker."""

from __future__ import annotations

import re

from orchestrator.store.directory import PRIORITIES, TASKS

RUN_STEP = "orchestrator.run_step"
RING = "orchestrator.ring"
RING_ID = re.compile(r"\S+ \S+ \d+ \S+ \S+")  # agent, priority, time, box, message: _message.lua

#: kombu's Redis transport keeps one list per step, and 0 runs first. A message without a priority counts as 0.
PRIORITY_STEPS = (0, 2, 4, 6, 8)
_REDIS = dict(zip(PRIORITIES, PRIORITY_STEPS, strict=True))


def queue_of(agent: str) -> str:
    """The queue of an agent: `agent.NAME`."""
    return f"agent.{agent}"


def priority_number(priority: str) -> int:
    """The number of a priority word on the broker."""
    return _REDIS[priority]


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
