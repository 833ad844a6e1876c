"""The Celery message that calls a worker for its inbox: `orchestrator.ring`, without content, only ids.

Where store and broker are one server, the script that stores a message puts it on the queue; elsewhere `publish` does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchestrator.records import Doorbell, Posted
from orchestrator.settings import DEFAULT_PREFIX
from orchestrator.store.routing import RING, agent_of, list_of, priority_number, queue_of, ring_id_of, wake_of

if TYPE_CHECKING:
    from celery import Celery

SEQ = "@SEQ@"  # what the script replaces by the time it stores the message; see _message.lua
_ID = "@ID@"


def doorbell(box: str, priority: str, message_id: str, prefix: str = DEFAULT_PREFIX) -> Doorbell:
    """The doorbell of a message, for a broker that is the store's server."""
    queue, key, ring = _template(box, priority, prefix)
    return Doorbell(key, wake_of(queue), ring.replace(_ID, message_id))


def silent(box: str, priority: str, message_id: str) -> Doorbell:
    """The doorbell where the broker is another server: nothing for the script to do."""
    return Doorbell("", "", "")


def publish(app: Celery, posted: Sequence[Posted]) -> None:
    """Send the rings that the store's script could not send. If the broker is away, the keeper sends them later."""
    rings = [one for one in posted if one.ring_to_send]

    def send() -> None:
        for one in rings:
            app.send_task(
                RING, args=[one.box, one.ring_to_send], task_id=ring_id_of(one.message_id),
                queue=queue_of(agent_of(one.box), app.engine.settings.prefix),
                priority=priority_number(one.priority, app.conf.broker_url),
                shadow=shadow_of(one.box), ignore_result=True,
            )  # fmt: skip

    if rings:
        from orchestrator.runtime.broker import hand_over  # with Celery, which a script that sends needs not

        hand_over(app, f"{len(rings)} rings", send)


@lru_cache(maxsize=1024)
def _template(box: str, priority: str, prefix: str) -> tuple[str, str, str]:
    """Queue, the broker's list for this priority, and the ring with place holders for id and time."""
    agent = agent_of(box)
    queue, number = queue_of(agent, prefix), priority_number(priority)
    args = [box, f"{agent} {priority} {SEQ} {box} {_ID}"]
    # What Celery and kombu need of their message protocol, version 2: a ring lies on the queue as long as its message
    # waits, and the rest of the protocol is as large again.
    message: dict[str, Any] = {
        "body": json.dumps([args, {}, {}], separators=(",", ":")),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": RING, "id": ring_id_of(_ID), "shadow": shadow_of(box), "ignore_result": True},
        "properties": {"delivery_info": {"exchange": "", "routing_key": queue}, "priority": number},
    }
    return queue, list_of(queue, number), json.dumps(message, separators=(",", ":"))


def shadow_of(box: str) -> str:
    """What logs and Flower show."""
    return f"{agent_of(box)} {'task' if box != agent_of(box) else 'message'}"
