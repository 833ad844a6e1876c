"""Messages of kombu's form with parts of an odd type, on queues, on channels and among those not acknowledged.

No worker ends by one, and good work goes on beside it.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import RunState
from orchestrator.store.routing import queue_of
from tests.acceptance.team import Team, team
from tests.memory import MIB, resident_bytes
from tests.waiting import wait_until

ODD = (5, -1.5, [1], ["a", "b"], {"a": 1}, None, "x", True, "\0", [[]] * 3)
ENVELOPE: dict[str, Any] = {
    "body": "[[],{},{}]", "content-type": "application/json", "content-encoding": "utf-8",
    "headers": {
        "lang": "py", "task": "orchestrator.ring", "id": "x", "root_id": "x", "parent_id": None, "group": None,
        "group_index": None, "shadow": None, "eta": None, "expires": None, "retries": 0, "timelimit": [None, None],
        "argsrepr": "()", "kwargsrepr": "{}", "origin": "x", "ignore_result": True, "replaced_task_nesting": 0,
        "stamped_headers": None, "stamps": {}, "compression": None, "method": None, "reply_to": None, "ticket": None,
    },
    "properties": {
        "correlation_id": "x", "reply_to": "x", "delivery_mode": 2, "priority": 4, "body_encoding": None,
        "delivery_tag": "x", "delivery_info": {"exchange": "", "routing_key": "agent.hand"},
    },
}  # fmt: skip
STEP = "steps: [{id: a, agent: hand, task: echo, with: {value: 1}}]\n"


def mutations() -> Iterator[str]:
    """The message with one part of it replaced by something odd, or missing."""
    places = [(), *((part,) for part in ENVELOPE), *(("headers", name) for name in ENVELOPE["headers"])]
    places += [*(("properties", name) for name in ENVELOPE["properties"])]
    places += [("properties", "delivery_info", name) for name in ("exchange", "routing_key")]
    for place in filter(None, places):
        for odd in (*ODD, ...):
            made = copy.deepcopy(ENVELOPE)
            inside = made
            for name in place[:-1]:
                inside = inside[name]
            if odd is ...:
                del inside[place[-1]]
            else:
                inside[place[-1]] = odd
            yield json.dumps(made)


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("envelopes")) as made:
        made.start_worker("hand", "echoer", concurrency=1)
        yield made


def goes_on(crew: Team, before: dict[str, list[str]]) -> None:
    """The next step runs, and the workers are those of before."""
    assert crew.run(STEP).status() is RunState.SUCCEEDED
    assert crew.online() == before
    for worker in crew.workers:
        os.kill(worker.pid, 0)
    assert "Unrecoverable error" not in crew.log


def test_a_message_with_an_odd_part_ends_no_worker(crew: Team) -> None:
    before = crew.online()
    texts = list(mutations())
    assert len(texts) > 300
    for at in range(0, len(texts), 100):
        crew.redis.lpush(queue_of("hand"), *texts[at : at + 100])
        goes_on(crew, before)
    assert crew.redis.llen(queue_of("hand")) == 0
    (quarantine,) = crew.client.quarantines()
    assert quarantine.count() > 100


def test_what_comes_on_a_channel_ends_no_worker(crew: Team) -> None:
    before = crew.online()
    control = {**ENVELOPE, "headers": {"clock": 1, "expires": 0}}
    bomb = {**control, "headers": {"compression": "application/x-gzip"}, "content-encoding": "binary"}
    bomb["body"] = base64.b64encode(zlib.compress(b" " * 200_000_000, 9)).decode()
    bomb["properties"] = {**ENVELOPE["properties"], "body_encoding": "base64"}
    junk = [
        "null", "1", "[1,2]", '"x"', "[" * 200_000, "{}", '{"headers":{}}', "\xff", json.dumps(bomb),
        *list(mutations())[::7],
        *(json.dumps({**control, "body": body}) for body in ("null", "[1]", '{"method": 5}', "{")),
    ]  # fmt: skip
    for text in junk:  # Celery listens anew after a request that it cannot read
        wait_until(lambda told=text: crew.redis.publish("/0.celery.pidbox", told), what="a listener", timeout_s=10)
    goes_on(crew, before)
    assert max(resident_bytes(pid) for pid in processes(crew)) < 200 * MIB
    assert crew.client.app.control.ping(timeout=5), "and they listen on"


def test_odd_notes_of_what_is_not_acknowledged_end_no_worker(crew: Team) -> None:
    before = crew.online()
    texts = ["null", "[]", '[1,"",""]', json.dumps([ENVELOPE, "", {"a": 1}]), json.dumps([ENVELOPE, 5, "agent.hand"])]
    texts += [json.dumps([ENVELOPE, "", None]), json.dumps([[], "", "agent.hand"]), "junk", "\xff"]
    for number, text in enumerate(texts):
        crew.redis.hset("unacked", f"odd{number}", text)
        crew.redis.zadd("unacked_index", {f"odd{number}": 1})
    crew.start_worker("hand", concurrency=1)  # looks for them when it starts
    wait_until(lambda: not crew.redis.zcount("unacked_index", 0, 2), what="all of them put aside", timeout_s=20)
    after = crew.online()
    assert all(set(before[agent]) <= set(after[agent]) for agent in before)
    goes_on(crew, after)


def processes(crew: Team) -> list[int]:
    found = [worker.pid for worker in crew.workers]
    for pid in list(found):
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            found += map(int, children.read().split())
    return found
