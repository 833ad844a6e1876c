"""Whatever lies where a message should lie: a real worker handles it or puts it into quarantine, and goes on."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator import MessageState
from orchestrator.identity import Key, write_key
from orchestrator.store.keys import Keys
from tests.acceptance.team import Team, team
from tests.waiting import wait_until

KEYS = Keys()
FIELDS = (
    "id", "state", "box", "from", "to", "type", "priority", "place", "created_at", "attempt", "envelope", "body",
    "failures", "losses", "schema", "expires_at", "due_at", "lease_until", "custody", "handoff", "task", "owner",
    "signature", "once", "watched", "awaited_until", "worker", "ring", "a:1", "error", "result", "reply",
)  # fmt: skip
# Without shrinking: what one example does to a worker, those after it meet.
ANY = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
numbers = itertools.count()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
ENVELOPE = ("thread_id", "correlation_id", "reply_to", "metadata", "version", "delivery_options", "from_agent", "extra")
envelopes = st.dictionaries(st.sampled_from(ENVELOPE) | st.text(max_size=10), json_values, max_size=5)
values = st.one_of(
    st.none(),  # the field is missing
    st.text(st.characters(codec="utf-8"), max_size=30),
    json_values.map(json.dumps),
    st.integers(-(10**20), 10**20).map(str),
)
records = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("records")) as made:
        made.start_worker("echoer", concurrency=1)
        yield made


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("signed")
    write_key(folder / "installation.key", Key.new())
    with team(folder, key_file=folder / "installation.key") as made:
        made.start_worker("echoer", concurrency=1)
        yield made


def lay(crew: Team, **fields: str | None) -> str:
    """Write a record, past every program of ours, before everything else that waits."""
    message_id = f"raw{next(numbers)}"
    good = {
        "id": message_id, "state": "pending", "box": "echoer", "from": "bob", "to": "echoer", "type": "notification",
        "priority": "emergency", "place": "1", "created_at": "1", "attempt": "0", "envelope": "{}",
        "body": '{"content":"raw"}',
    }  # fmt: skip
    found = {name: value for name, value in {**good, **fields}.items() if value is not None}
    crew.redis.hset(KEYS.message(message_id), mapping=found or {"": ""})
    crew.redis.zadd(KEYS.inbox("echoer"), {message_id: 1})
    crew.client.office.inbox.ring_again("echoer", "emergency", message_id)
    return message_id


def goes_on(crew: Team, before: list[str]) -> None:
    """The same worker answers, and what lay there is out of the way."""
    assert crew.client.ask("echoer", "still there?", timeout_s=20) == "heard still there?"
    assert crew.online()["echoer"] == before
    assert crew.redis.zcard(KEYS.inbox("echoer")) == 0


@ANY
@given(fields=records)
def test_a_record_of_any_fields_ends_no_worker(crew: Team, fields: dict[str, str | None]) -> None:
    before = crew.online()["echoer"]
    lay(crew, **fields)
    goes_on(crew, before)


@ANY
@given(envelope=st.one_of(envelopes, json_values), body=json_values)
def test_an_envelope_of_any_json_ends_no_worker(crew: Team, envelope: Any, body: Any) -> None:
    before = crew.online()["echoer"]
    message_id = lay(crew, envelope=json.dumps(envelope), body=json.dumps(body))
    goes_on(crew, before)
    state = crew.redis.hget(KEYS.message(message_id), "state")
    aside = [entry.raw.decode() for entry in crew.client.quarantines()[0].all()]
    assert state in ("acknowledged", "pending", "dead") or any(message_id in raw for raw in aside), state


BOMB = "\x01" + base64.b64encode(zlib.compress(b" " * (200 << 20), 9)).decode()
DEEP = "[" * 50_000 + "]" * 50_000


@pytest.mark.parametrize(
    "fields",
    [{"body": BOMB}, {"body": DEEP}, {"envelope": DEEP}, {"body": "\x01!!"}, {"body": "NaN", "envelope": "nope"}],
    ids=["bomb", "deep body", "deep envelope", "not packed", "no JSON"],
)
def test_a_body_that_cannot_be_read_goes_into_quarantine(crew: Team, fields: dict[str, str]) -> None:
    before = crew.online()["echoer"]
    message_id = lay(crew, **fields)
    goes_on(crew, before)
    assert crew.redis.hget(KEYS.message(message_id), "state") == "failed"
    (entry,) = [e for e in crew.client.quarantines()[0].all() if message_id in e.raw.decode()]
    assert entry.reason.startswith("cannot be read: ")


@pytest.mark.parametrize("field", ["body", "envelope", "from", "type", "task", "signature", "worker"])
def test_a_record_that_is_no_utf8_is_out_of_the_way_and_can_be_looked_at(crew: Team, field: str) -> None:
    before = crew.online()["echoer"]
    message_id = f"raw{next(numbers)}"
    good = lay(crew, id=message_id)
    record = {**crew.redis.hgetall(KEYS.message(good)), field: b'{"content":"\xff"}', "id": message_id}
    crew.redis.hset(KEYS.message(message_id), mapping=record)
    crew.redis.zadd(KEYS.inbox("echoer"), {message_id: 1})
    crew.client.office.inbox.ring_again("echoer", "emergency", message_id)
    goes_on(crew, before)
    crew.client.office.inbox.dead_letters()
    assert all(entry.reason for entry in crew.client.quarantines()[0].all())


def test_odd_timers_hold_no_others_back(crew: Team) -> None:
    """A worker takes what is due in one piece, with whatever lies among it."""
    gone = [b"garbage", b"due x", b"lease x y z", b"\xff y z 1", b"lease %b y 1" % (b"x" * 2000)]
    odd = [*gone, b"nope x y 1", b"due x y 1"]
    for key in (KEYS.timers, KEYS.message_timers):
        crew.redis.zadd(key, dict.fromkeys(odd, 0))
    receipts = [crew.client.send("echoer", "later", delay_s=1 + at / 10) for at in range(20)]
    for receipt in receipts:
        receipt.wait("acknowledged", timeout_s=10)
    for key in (KEYS.timers, KEYS.message_timers):
        assert crew.redis.zmscore(key, gone) == [None] * len(gone)
    crew.redis.zrem(KEYS.timers, *odd)
    crew.redis.zrem(KEYS.message_timers, *odd)


def test_odd_entries_of_the_quarantine_hide_no_others(crew: Team) -> None:
    (quarantine,) = crew.client.quarantines()
    bomb = base64.b64encode(zlib.compress(b" " * (200 << 20), 9)).decode()
    entry = json.dumps({"queue": "q", "reason": "r", "bytes": 1, "raw": bomb})
    odd = {"junk": "no json", "bytes": b"\xff", "list": "1 []", "bomb": f"1 {entry}"}
    crew.redis.hset("quarantine", mapping=odd)
    try:
        found = {entry.id: entry for entry in quarantine.all()}
        assert {found[name].reason for name in ("junk", "bytes", "list")} == {
            "is no entry of a quarantine: somebody else wrote it"
        }
        assert len(found["bomb"].raw) == 64 << 20
        assert found["junk"].raw == b""
    finally:
        crew.redis.hdel("quarantine", *odd)


def test_what_is_no_record_at_all_is_out_of_the_way(crew: Team) -> None:
    before = crew.online()["echoer"]
    crew.redis.set(KEYS.message("text"), "no record")
    crew.redis.zadd(KEYS.inbox("echoer"), {"text": 1, "nothing": 2})
    goes_on(crew, before)
    crew.redis.delete(KEYS.message("text"))


@pytest.mark.hostile("M-14")
def test_a_message_called_shutdown_is_only_data(crew: Team) -> None:
    """Celery's own broadcasts are a matter of the server's access control."""
    before = crew.online()["echoer"]
    message_id = lay(crew, type="control.shutdown", body='{"content":"fatal now"}')
    goes_on(crew, before)
    assert crew.redis.hget(KEYS.message(message_id), "state") in ("failed", "dead")
    (pid,) = [worker.pid for worker in crew.workers]
    os.kill(pid, 0)


# --- with keys ------------------------------------------------------------------------------------------------------


def test_a_signed_question_is_answered_and_a_forged_one_is_not_heard(signed: Team) -> None:
    assert signed.client.ask("echoer", "who is there?", timeout_s=20) == "heard who is there?"
    forged = lay(signed, body='{"content":"forged"}')
    goes_on(signed, signed.online()["echoer"])
    assert signed.heard("forged") == []
    assert signed.redis.hget(KEYS.message(forged), "state") == "failed"
    (entry,) = [e for e in signed.client.quarantines()[0].all() if forged in e.raw.decode()]
    assert entry.reason == "bad_signature: has no signature"
    assert signed.client.settings.key_file is not None
    secret = signed.client.settings.key_file.read_text().split()[-1]
    assert secret not in signed.log


def test_what_a_handler_sends_is_signed_too(signed: Team) -> None:
    signed.start_worker("ear", concurrency=1)
    task = signed.client.handoff("ear", "draft", {"topic": "tea"})
    task.wait(MessageState.ACKNOWLEDGED, timeout_s=20)
    wait_until(lambda: signed.heard("silence about the draft"), what="the message of the handler", timeout_s=20)


def test_a_worker_with_the_key_of_an_agent_does_not_start(signed: Team, tmp_path: Path) -> None:
    write_key(tmp_path / "ear.key", Key.new().of("ear"))
    environment = {**signed.environment, "ORCHESTRATOR_KEY_FILE": str(tmp_path / "ear.key")}
    words = [sys.executable, "-m", "celery", "-A", "workers", "worker", "-Q", "agent.ear"]
    ended = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "that is the key of ear; a worker needs the installation's" in ended.stdout + ended.stderr
