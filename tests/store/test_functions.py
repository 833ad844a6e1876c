"""The library of the transitions: what a call leaves behind, and a server that does not have it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator.records import Order, Taker
from orchestrator.store import embedded
from orchestrator.store.connection import connect
from orchestrator.store.direct import DirectFunction, Library
from orchestrator.store.runs import RunStore
from orchestrator.store.scripts import function_name, library
from orchestrator.workflow.segments import dispatch_table
from tests.conftest import KEYS
from tests.factories import plan, task
from tests.store.test_messages import send, take  # noqa: F401 - a fixture
from tests.waiting import wait_until

QUEUE = "t:agent.writer\x06\x166"
FIRST, SECOND = (Taker("w", pid, 10_000, ("writer",)) for pid in (7, 8))


@pytest.fixture
def direct(client: redis.Redis) -> RunStore:
    """The store of a server that is the broker as well, so that a call has most to remember."""
    return RunStore(client, KEYS, one_server=True)


def start(store: RunStore, run_id: str, *names: str) -> None:
    steps = [task(name, *names[at - 1 : at] if at else ()) for at, name in enumerate(names)]
    order = Order(
        run_id, plan(*steps, name=run_id), dispatch=dispatch_table, priority="medium", retention_ms=60_000, inputs={}
    )
    store.create_run(order)


@pytest.fixture
def failed(direct: RunStore, client: redis.Redis) -> None:
    """A process was finishing `a`, to go on with `b`, when the call failed: the attempt was closed, but not counted."""
    start(direct, "r1", "a", "b")
    assert direct.take_step(FIRST) is not None
    client.hset(KEYS.plan(client.hget(KEYS.run("r1"), "plan")), "g:b", "no JSON")
    with pytest.raises(redis.ResponseError, match="Expected value but found"):
        direct.finish_step("r1", "a", 1, "1", taker=FIRST)


# --- from call to call ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("failed")
def test_a_call_that_failed_half_way_leaves_nothing_to_the_next_ones(direct: RunStore, client: redis.Redis) -> None:
    start(direct, "r2", "d", "e")
    assert '"parent_id":null' in client.lindex(QUEUE, -1), "the cause is not that of the call before"
    assert direct.take_step(SECOND) is not None
    assert client.hget(KEYS.queues, "running writer") == "2", "its counters are not written by another call"
    assert client.hget(KEYS.run("r2"), "active") == "1"
    assert client.hget(KEYS.holds("w"), "7") == "r1 a", "nor is its process let go"
    assert direct.finish_step("r2", "d", 1, "1") is not None
    assert client.llen(QUEUE) == 1, "the next step is sent: nobody said that a process goes on with it"


def test_messages_that_failed_half_way_leave_nothing_to_the_next_ones(
    office: Any,
    send: Any,  # noqa: F811
    client: redis.Redis,
) -> None:
    client.set(KEYS.journal, "no stream")
    with pytest.raises(redis.ResponseError):
        send(text="one")
    client.delete(KEYS.journal)
    receipt = send(text="two")
    assert take(office).message.message_id == receipt.message_id
    assert take(office) is None


def test_whatever_belongs_to_a_call_is_set_when_it_begins() -> None:
    folder = files("orchestrator.store") / "lua"
    text = "\n".join(file.read_text("utf-8") for file in folder.iterdir() if file.name.startswith("_"))
    declared = names(r"^local ([\w, ]+?) *(?:--.*)?$", text)
    variables = declared - set(re.findall(r"^(\w+) = function", text, re.MULTILINE))
    opening = re.search(r"^local function open_call.*?^end", text, re.MULTILINE | re.DOTALL)
    assert opening
    assert {"run", "counts", "onward", "by", "M"} <= variables
    assert variables - names(r"^  ([\w, ]+) = ", opening[0]) == set()
    lasting = names(r"^local ([\w, ]+?) = ", text)
    kept = {"graphs", "nodes_kept", "looked"}  # from call to call, as their comments say
    assert {name for name in lasting if not name.isupper()} == kept, "no constants"


def names(pattern: str, text: str) -> set[str]:
    """The names in the lists that the pattern finds."""
    return {name for found in re.findall(pattern, text, re.MULTILINE) for name in found.split(", ")}


# --- the server's memory of it --------------------------------------------------------------------------------------


def test_a_server_that_has_lost_the_library_gets_it_again(
    store: RunStore, create: Callable, client: redis.Redis
) -> None:
    run_id, _ = create(plan(task("a"), task("b", "a")))
    client.function_flush()
    assert store.claim_step(run_id, "a", worker="w", lease_ms=1000) is not None
    client.function_flush()
    assert store.finish_step(run_id, "a", 1, "1") is not None


def test_many_that_load_the_library_at_once_do_not_mind(store: RunStore, create: Callable, client: redis.Redis) -> None:
    run_id, _ = create(plan(task("a")))
    client.function_flush()
    with ThreadPoolExecutor(8) as pool:
        beats = [pool.submit(store.extend_lease, run_id, "a", worker="w", lease_ms=1000) for _ in range(32)]
        assert {beat.result().name for beat in beats} == {store.extend_lease(run_id, "a", worker="w", lease_ms=1).name}


def test_two_versions_use_one_server(store: RunStore, create: Callable, client: redis.Redis) -> None:
    run_id, _ = create(plan(task("a"), task("b", "a")))
    ours = library()
    older = Library("00000000", ours.text.replace(ours.version, "00000000"))
    claim = DirectFunction(client, function_name("claim_step").replace(ours.version, older.version), older)
    claimed = claim([KEYS.run(run_id), ""], [run_id, "a", "w", 1000, 7, 1, 0])
    assert claimed[:2] == [run_id, "a"]
    assert store.finish_step(run_id, "a", 1, "1") is not None
    for version in (ours.version, older.version):
        assert client.function_list(library=f"orchestrator_{version}")
    client.function_delete("orchestrator_00000000")


def test_a_user_who_may_not_send_scripts_can_do_everything(server: Any, client: redis.Redis, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    client.function_flush()
    rules = "on >pw ~* &* +@all -@scripting +fcall +function|load"
    client.execute_command("ACL", "SETUSER", "worker", *rules.split())
    try:
        own = connect(server.url.replace("redis+socket://", "redis+socket://worker:pw@"), deadline_s=5)
        own.execute_command("AUTH", "worker", "pw")
        with pytest.raises(redis.exceptions.NoPermissionError):
            own.eval("return 1", 0)
        assert RunStore(own, KEYS).claim_step(run_id, "a", worker="w", lease_ms=1000) is not None
        own.close()
    finally:
        client.execute_command("ACL", "DELUSER", "worker")


def test_a_killed_server_comes_back_with_its_library(home: Path) -> None:
    with embedded.acquire(home) as server:
        client = connect(server.url, deadline_s=5)
        store = RunStore(client, KEYS)
        start(store, "r1", "a")
        assert client.function_list(library=f"orchestrator_{library().version}")
        before = embedded.status(home).pid
        assert before
        client.execute_command("WAITAOF", 1, 0, 2000)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: embedded.status(home).pid not in (before, None), what="it is back", timeout_s=10)
        again = connect(server.url, deadline_s=5)
        assert again.function_list(library=f"orchestrator_{library().version}")
        assert RunStore(again, KEYS).claim_step("r1", "a", worker="w", lease_ms=1000) is not None
