"""Messages from those who are not who they say, who say it again, who take what is for others, or who do not stop."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator import DeliveryOptions, HandoffState, MessageInvalid, MessageState
from orchestrator.agents.conversations import MOST_HOPS
from orchestrator.agents.links import MessageLink
from orchestrator.agents.mail import handle, wake_message
from orchestrator.agents.post import PostOffice, Receipt
from orchestrator.agents.secrets import Secrets
from orchestrator.cli.app import main
from orchestrator.documents import message_document
from orchestrator.errors import (
    BadSignature,
    MessageNotFound,
    MessageNotHeld,
    NotYourMessage,
    ReplyNotAllowed,
    SenderMismatch,
    WaitTimeout,
)
from orchestrator.identity import write_key
from orchestrator.messages import AgentMessage
from orchestrator.records import Draft, MessageRecord, StepError
from orchestrator.store import signatures
from orchestrator.store.connection import server_now_ms
from orchestrator.store.directory import boxes_of
from orchestrator.store.timers import Timers
from orchestrator.workflow.catalog import AgentInfo, TaskInfo
from tests.conftest import KEYS
from tests.hostile.post import Installation

HOUR_MS = 3_600_000
BAD = "bad_signature"


@pytest.fixture
def house(client: redis.Redis, server: Any, tmp_path: Path) -> Installation:
    return Installation(client, server.url, tmp_path, message_retention_s=86400)


@pytest.fixture
def shell(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands, called in this process, use the server of the tests."""
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(server.home))
    monkeypatch.setenv("ORCHESTRATOR_PREFIX", KEYS.prefix)


def sent_at(monkeypatch: pytest.MonkeyPatch, hours_ago: float) -> None:
    """Let the clock of a sender be behind."""
    then = time.time_ns() - round(hours_ago * HOUR_MS * 1e6)
    monkeypatch.setattr(signatures.time, "time_ns", lambda: then)


# --- who says it ----------------------------------------------------------------------------------------------------


@pytest.mark.hostile("M-01")
def test_nobody_speaks_with_another_name(house: Installation) -> None:
    intern = house.of("intern")
    for say in (
        lambda: intern.send("ada", "raise", sender="boss"),
        lambda: intern.ask("ada", "raise", sender="boss", timeout_s=1),
        lambda: intern.broadcast("raise", sender="boss"),
    ):
        with pytest.raises(SenderMismatch, match="'boss' cannot be said with the key of 'intern'"):
            say()
    assert house.client.zcard(KEYS.inbox("ada")) == 0
    # Written to the server by himself: his own message, signed, and then another sender, text, task, inbox ...
    forgeries: list[dict[str, str]] = [
        {"from": "boss"}, {"to": "boss"}, {"body": '{"content":"raise"}'}, {"signature": ""},
        {"signature": "1 1 " + "0" * 64}, {"priority": "emergency"}, {"task": "pay"}, {"type": "handoff"},
        {"box": "bob"}, {"envelope": '{"correlation_id":"x"}'}, {"envelope": "{} "},
    ]  # fmt: skip
    forged = []
    for fields in forgeries:
        message_id = intern.send("ada", "good morning", sender="intern").message_id
        house.client.hset(KEYS.message(message_id), mapping=fields)
        if "box" in fields:
            house.client.zadd(KEYS.inbox("bob"), {message_id: 1})
            house.client.zrem(KEYS.inbox("ada"), message_id)
        forged.append(message_id)
    intern.send("ada", "good evening", sender="intern")
    assert [message.text for message in house.hear("ada")] == ["good evening"]
    assert house.hear("bob") == []
    assert len(house.quarantined()) == len(forgeries)
    assert all(entry["reason"].startswith(BAD) for entry in house.quarantined())
    for message_id in forged:
        record = house.worker.inbox.read(message_id)
        assert (record.state, record.error and record.error.type) == (MessageState.FAILED, "BadSignature")
    assert house.worker.inbox.dead_letters() == []
    with pytest.raises(BadSignature, match="is not signed with the key of 'boss'"):
        house.worker.replay(forged[0])


def test_the_command_refuses_another_name_and_says_its_own(
    house: Installation, shell: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_key(tmp_path / "own.key", house.key.of("intern"))
    monkeypatch.setenv("ORCHESTRATOR_KEY_FILE", str(tmp_path / "own.key"))
    assert main(["send", "ada", "raise", "boss"]) == 2
    assert capsys.readouterr().err == "from: 'boss' cannot be said with the key of 'intern'; leave the sender out\n"
    assert main(["send", "ada", "good morning", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["from_agent"] == "intern"
    assert main(["inbox", "ada"]) == 2
    assert capsys.readouterr().err == "the messages of 'ada' are not for 'intern', whose key this is\n"
    assert main(["inbox", "intern"]) == 0
    assert [message.text for message in house.hear("ada")] == ["good morning"]


def test_a_reply_that_is_not_signed_by_whom_it_claims_is_no_answer(house: Installation) -> None:
    asked = house.worker.send("ada", "well?", sender="boss", awaited_s=5)
    answer = house.of("ada").reply(asked, "yes")
    house.client.hset(KEYS.message(answer.message_id), "body", '{"content":"no"}')
    with pytest.raises(BadSignature, match="is not signed with the key of 'ada'"):
        asked.reply(1)


def test_a_message_for_a_capability_is_signed_anew_by_the_worker_that_finds_an_agent(house: Installation) -> None:
    house.of("intern").send("capability:sums", "1 + 1", sender="intern")
    house.worker.directory.register("adder", ["sums"])
    house.worker.directory.attend("w", "adder")
    house.worker.route(house.worker.inbox.parked())
    assert [message.to_agent for message in house.hear("adder")] == ["adder"]
    assert house.quarantined() == []


def test_what_has_no_signature_is_not_heard_unless_the_installation_adopts_it(house: Installation) -> None:
    nobody = house.office(None)
    nobody.send("ada", "unsigned", sender="boss")
    assert house.hear("ada") == []
    assert [entry["reason"] for entry in house.quarantined()] == [f"{BAD}: has no signature"]
    nobody.send("ada", "from before", sender="boss")
    nobody.send("ada", "for later", sender="boss", delay_s=60)
    assert house.worker.inbox.sign_waiting() == 2
    assert house.worker.inbox.sign_waiting() == 0
    assert [message.text for message in house.hear("ada")] == ["from before"]


# --- said again -----------------------------------------------------------------------------------------------------


@pytest.mark.hostile("M-02")
@pytest.mark.parametrize("times", [1, 100, 10_000])
def test_a_message_that_is_written_again_is_heard_once(house: Installation, times: int) -> None:
    intern = house.of("intern")
    said: list[tuple[list[str], list[Any]]] = []
    call = intern.inbox._scripts.call
    intern.inbox._scripts.call = lambda name, keys, args: said.append((keys, args)) or call(name, keys, args)  # type: ignore[method-assign]
    intern.send("ada", "pay 10", sender="intern")
    (recorded,) = said
    assert [message.text for message in house.hear("ada")] == ["pay 10"]
    replies = [call("send_messages", *recorded) for _ in range(times)]
    assert all(reply[1][1] == "known" for reply in replies)  # dropped, and the sender of the copy is told
    assert message_document(house.worker.inbox.read(replies[0][1][0]))["duplicates_dropped"] == times
    assert house.hear("ada") == []
    assert house.quarantined() == []


def test_a_copy_under_another_id_is_not_heard(house: Installation) -> None:
    sent = house.of("intern").send("ada", "pay 10", sender="intern").message_id
    for number in range(100):
        house.copy_record(sent, f"copy{number}")
    house.copy_record(sent, "other:key")
    house.client.hset(KEYS.message("other:key"), "id", sent)
    assert [message.text for message in house.hear("ada")] == ["pay 10"]
    assert len(house.quarantined()) == 101


def test_after_the_window_a_copy_expires_although_the_message_is_forgotten(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        sent_at(patch, hours_ago=25)
        sent = house.of("intern").send("ada", "pay 10", sender="intern").message_id
    house.client.hdel(KEYS.message(sent), "expires_at")  # the copy of a raw writer has none
    assert house.hear("ada") == []
    record = house.worker.inbox.read(sent)
    assert (record.state, record.error and record.error.type) == (MessageState.EXPIRED, "SignatureTooOld")
    assert house.quarantined() == []


def test_a_signature_for_a_time_to_come_is_none(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        sent_at(patch, hours_ago=-1)
        house.of("intern").send("ada", "soon", sender="intern")
    assert house.hear("ada") == []
    assert [entry["reason"] for entry in house.quarantined()] == [f"{BAD}: is signed for a time to come"]


def test_what_is_to_be_delivered_later_holds_from_then(house: Installation) -> None:
    later = house.of("intern").send("ada", "later", sender="intern", delay_s=7 * 86400)
    record = later.record()
    assert record.expires_at is not None
    assert record.due_at is not None
    assert 86_390_000 < record.expires_at - record.due_at < 86_410_000


# --- replies --------------------------------------------------------------------------------------------------------


@pytest.mark.hostile("M-04")
def test_only_whom_it_was_for_may_reply(house: Installation) -> None:
    asked = house.of("ada").send("bob", "well?", sender="ada")
    for cleo in (house.of("cleo"), house.office(None)):
        with pytest.raises((ReplyNotAllowed, NotYourMessage)):
            cleo.reply(asked.message, "no", sender="cleo")
    forged = _reply_draft(house, asked, sender="cleo")
    with pytest.raises(ReplyNotAllowed, match="was for bob; only bob can reply"):
        house.of("cleo").inbox.send([forged])
    assert asked.record().reply is None
    assert house.of("bob").reply(asked.message, "yes")


@pytest.mark.hostile("M-05")
def test_the_first_reply_wins_and_the_others_stay_visible(house: Installation) -> None:
    boss, ada = house.worker, house.of("ada")
    asked = boss.send("ada", "well?", sender="boss", awaited_s=30)
    first, second = ada.reply(asked, "yes"), ada.reply(asked, "no")
    assert [asked.reply(1).text for _ in range(2)] == ["yes", "yes"]
    assert asked.record().reply == first.message_id
    assert second.record().message.correlation_id == asked.message_id
    impatient = boss.send("ada", "now?", sender="boss", awaited_s=0.001)
    with pytest.raises(WaitTimeout):
        impatient.reply(0.01)
    late = ada.reply(impatient, "sorry")
    assert late.record().late
    assert impatient.record().reply == late.message_id
    with pytest.raises(MessageNotFound, match="no message 'nothing'"):
        ada.reply("nothing", "what?")


def _reply_draft(house: Installation, asked: Receipt, *, sender: str) -> Draft:
    """What a program that is not ours would store as a reply."""
    message = AgentMessage("forged", sender, "ada", body={"content": "no"}, correlation_id=asked.message_id)
    return Draft(message, '{"content":"no"}', box="ada", open=True)


def test_a_message_that_is_called_the_reply_to_another_is_none(house: Installation) -> None:
    """Who writes to the store past us may set the field; what is signed says what it answers."""
    question = house.of("boss").send("ada", "may I?", sender="boss", awaited_s=60).message_id
    other = house.of("intern").send("cleo", "yes, pay", sender="intern").message_id
    house.client.hset(KEYS.message(question), "reply", other)
    with pytest.raises(BadSignature, match="is no answer of 'ada'"):
        house.worker.wait_for_reply(question, 5, taker=None)


def test_an_agents_key_makes_nobody_else_known_or_forgotten(house: Installation) -> None:
    intern = house.of("intern")
    for act in (lambda: intern.register("boss"), lambda: intern.unregister("ada")):
        with pytest.raises(NotYourMessage):
            act()
    assert "ada" in {info.name for info in house.worker.directory.registered()}
    intern.register("intern", ["reading"])
    assert intern.unregister("intern") is True


def test_an_idempotency_key_is_its_senders_and_for_one_recipient(house: Installation) -> None:
    intern, boss = house.of("intern"), house.of("boss")
    taken = intern.send("ada", "mine", sender="intern", idempotency_key="order-78").message_id
    real = boss.send("ada", "real", sender="boss", idempotency_key="order-78").message_id
    other = boss.send("bob", "also", sender="boss", idempotency_key="order-78").message_id
    again = boss.send("ada", "real", sender="boss", idempotency_key="order-78").message_id
    assert (len({taken, real, other}), again) == (3, real)
    assert sorted(message.text for message in house.hear("ada")) == ["mine", "real"]
    assert [message.text for message in house.hear("bob")] == ["also"]


def test_a_dead_letter_is_replayed_whatever_keys_others_use(house: Installation) -> None:
    dead = house.of("boss").send("ada", "pay", sender="boss").message_id
    delivery = house.take("ada")
    assert delivery is not None
    house.worker.inbox.finish(dead, "dead", receiver="worker", box=delivery.box, error=StepError("X", "x", dead))
    house.of("intern").send("ada", "no", sender="intern", idempotency_key=f"replay:{dead}")
    assert house.worker.replay(dead).message.from_agent == "boss"
    assert sorted(message.text for message in house.hear("ada")) == ["no", "pay"]


# --- handoffs -------------------------------------------------------------------------------------------------------


def offer(office: PostOffice, to: str = "cleo", sender: str = "ada") -> str:
    message = AgentMessage("t" + str(time.time_ns()), sender, to, "handoff", {"task": "x", "with": {}})
    draft = Draft(message, '{"task":"x","with":{}}', box=f"{to}/tasks", task="x")
    return office.post([draft])[0].message_id


def accept(office: PostOffice, task_id: str, receiver: str = "terminal") -> bool:
    return (
        office.inbox.claim(["cleo/tasks"], receiver=receiver, lease_ms=0, message_id=task_id, handoff_state="accepted")
        is not None
    )


@pytest.mark.hostile("M-06")
def test_a_task_is_its_owners_and_is_accepted_once(house: Installation) -> None:
    ada, bob, cleo = map(house.of, ("ada", "bob", "cleo"))
    task_id = offer(ada)
    with pytest.raises(NotYourMessage):
        accept(bob, task_id)
    with pytest.raises(NotYourMessage):
        bob.inbox.finish(task_id, "declined", receiver="terminal", box="cleo/tasks")
    assert ada.inbox.read(task_id).handoff is HandoffState.OFFERED
    taken: list[bool] = []
    both = [
        threading.Thread(target=lambda name=name: taken.append(accept(house.of("cleo"), task_id, name)))
        for name in ("one", "two")
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(10)
    assert sorted(taken) == [False, True]
    with pytest.raises(NotYourMessage):
        bob.inbox.finish(task_id, "acknowledged", receiver="one", box="cleo/tasks")
    again = offer(ada)
    cleo.inbox.finish(again, "declined", receiver="terminal", box="cleo/tasks")
    assert not accept(cleo, again)
    assert ada.inbox.read(again).handoff is HandoffState.DECLINED


@pytest.mark.hostile("M-07")
def test_a_ring_of_handoffs_ends_with_the_path(house: Installation) -> None:
    ring = ("ada", "bob", "cleo")
    register(house, ring)

    def pass_on(delivery: Any, drafts: list[Draft]) -> None:
        here = delivery.message.to_agent
        to = ring[(ring.index(here) + 1) % len(ring)]
        MessageLink(house.worker, here, delivery.message, drafts, Secrets()).handoff(to, "x", {}, {})

    house.worker.handoff("ada", "x", {}, sender="cleo")
    passed = 0
    while busy := [name for name in ring if handled(house, name, pass_on)]:
        passed += len(busy)
        assert passed <= 2 * MOST_HOPS, "it goes on for ever"
    (ended,) = [record for record in house.worker.inbox.dead_letters() if record.error]
    assert ended.error is not None
    assert ended.error.type == "HopLimit"
    assert "has gone through 16 hands" in ended.error.message
    assert "cleo -> ada -> bob -> cleo" in ended.error.message
    assert len(house.worker.inbox.handoffs()) == MOST_HOPS - 1


def register(house: Installation, names: tuple[str, ...]) -> None:
    infos = [AgentInfo(name, (), (TaskInfo("x", {}),), hears=False) for name in names]
    house.worker.directory.heartbeat("w", infos)


def handled(house: Installation, agent: str, handler: Callable[[Any, list[Draft]], Any]) -> bool:
    delivery = house.take(agent)
    if delivery is not None:
        handle(house.worker.inbox, house.worker.settings, delivery, handler, Secrets())
    return delivery is not None


# --- without end ----------------------------------------------------------------------------------------------------


@pytest.mark.hostile("M-08")
def test_agents_that_answer_each_other_for_ever_go_on_at_their_pace(
    client: redis.Redis, server: Any, tmp_path: Path
) -> None:
    house = Installation(client, server.url, tmp_path, conversation_rate=20)

    def answer(delivery: Any, drafts: list[Draft]) -> None:
        message = delivery.message
        link = MessageLink(house.worker, message.to_agent, message, drafts, Secrets())
        link.send(message.from_agent, f"and you, {message.from_agent}?", {})

    house.worker.send("ada", "how are you?", sender="bob")
    turns = 0
    while handled(house, "ada", answer) or handled(house, "bob", answer):
        turns += 1
        assert turns <= 30, "nothing holds them up"
    assert 20 <= turns <= 23
    waiting = [record for record in house.worker.inbox.read_many(ids(client)) if record.state is MessageState.PENDING]
    assert len(waiting) == 1
    assert waiting[0].due_at is not None
    assert 0 < waiting[0].due_at - server_now_ms(client) <= 3000
    # Others are not held up, be it with the same agents.
    other = house.worker.send("ada", "lunch?", sender="bob")
    assert other.record().due_at is None
    assert [message.text for message in house.hear("ada")] == ["lunch?"]


def ids(client: redis.Redis) -> list[str]:
    return [key.removeprefix(KEYS.message_prefix) for key in client.scan_iter(KEYS.message("*"))]


@pytest.mark.hostile("M-09")
def test_a_broadcast_has_an_end(house: Installation) -> None:
    office = house.of("ada")
    with pytest.raises(MessageInvalid, match=r"to: 100,000 agents; a broadcast goes to at most 1,000"):
        office.broadcast("x", sender="ada", to=[f"a{n}" for n in range(100_000)])
    with pytest.raises(MessageInvalid, match=r"to: '\*' is no name of an agent"):
        office.broadcast("x", sender="ada", to=["*"])
    with pytest.raises(MessageInvalid, match="to: names nobody"):
        office.broadcast("x", sender="ada", to=[])
    assert office.broadcast("x", sender="ada", to=["ada"]) == {}
    assert set(office.broadcast("x", sender="ada", to=["ada", "bob"])) == {"bob"}
    assert len(ids(house.client)) == 1


# --- for others -----------------------------------------------------------------------------------------------------


@pytest.mark.hostile("M-10")
def test_nobody_takes_closes_or_reads_what_is_for_others(house: Installation) -> None:
    cleo, sent = house.of("cleo"), house.of("ada").send("bob", "between us", sender="ada")
    before = house.client.hgetall(KEYS.message(sent.message_id))
    for act in (
        lambda: cleo.inbox.claim(boxes_of("bob"), receiver="terminal", lease_ms=1000),
        lambda: cleo.inbox.finish(sent.message_id, "acknowledged", receiver="worker", box="bob"),
        lambda: cleo.inbox.finish(sent.message_id, "pending", receiver="worker", box="bob"),
        lambda: cleo.inbox.read(sent.message_id),
    ):
        with pytest.raises(NotYourMessage):
            act()
    assert cleo.inbox.peek(boxes_of("bob")) == []
    assert house.client.hgetall(KEYS.message(sent.message_id)) == before
    with pytest.raises(MessageNotHeld):
        house.of("bob").inbox.finish(sent.message_id, "acknowledged", receiver="terminal", box="bob")
    for reader in (house.of("bob"), house.of("ada"), house.worker):
        assert reader.inbox.read(sent.message_id).message.text == "between us"


# --- out of range ---------------------------------------------------------------------------------------------------


@pytest.mark.hostile("M-11")
def test_a_time_or_a_number_that_cannot_be_meant_is_refused_at_every_door(
    house: Installation, shell: None, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = house.of("ada")
    year_9999 = round(datetime(9999, 1, 1, tzinfo=UTC).timestamp() * 1000)
    for options, field in (
        ({"at_ms": 1_700_000_000_000}, "at"),
        ({"at_ms": year_9999}, "at"),
        ({"delay_s": float("nan")}, "delay"),
        ({"delay_s": 1e12}, "delay"),
        ({"priority": 10**9}, "priority"),
    ):
        with pytest.raises(MessageInvalid) as caught:
            ada.send("bob", "x", sender="ada", **options)
        assert caught.value.field == field
    wrong: dict[str, list[Any]] = {
        "ttl_seconds": [0, -1, 1e12, float("nan"), float("inf"), "1"],
        "max_retries": [-1, 10**9, 1.5, float("nan"), True],
        "retry_delay_seconds": [-1, 1e12, float("inf")],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(MessageInvalid, match=name):
                DeliveryOptions(**{name: value})
    assert ids(house.client) == []
    # The same in a record, signed by its sender.
    for name, value in (("ttl_seconds", 0), ("max_retries", 10**9), ("retry_delay_seconds", -1)):
        raw = DeliveryOptions()
        object.__setattr__(raw, name, value)
        message = AgentMessage(f"raw-{name}", "ada", "bob", body={"content": "x"}, delivery_options=raw)
        ada.inbox.send([Draft(message, '{"content":"x"}', box="bob")])
    assert house.hear("bob") == []
    assert sorted(ids(house.client)) == ["raw-max_retries", "raw-retry_delay_seconds", "raw-ttl_seconds"]
    for words, said in (
        (["--ttl", "0"], "ttl_seconds is 0"),
        (["--at", "9999-01-01T00:00:00Z"], "more than a year ahead"),
        (["--at", "2001-01-01T00:00:00Z"], "at: 2001-01-01T00:00:00.000Z is in the past"),
        (["--priority", "1000000000"], "no priority '1000000000'"),
    ):
        assert main(["send", "bob", "x", *words]) == 2
        assert said in capsys.readouterr().err


def do_what_is_due(client: redis.Redis, office: PostOffice) -> None:
    for timer in Timers(client, KEYS).take_due_messages(limit=100, hold_ms=0).timers:
        wake_message(office, timer)


def test_who_waits_beyond_the_window_is_told_by_the_state(client: redis.Redis, server: Any, tmp_path: Path) -> None:
    """A signed message that nobody takes has an end, and it can be seen from the start when that is."""
    house = Installation(client, server.url, tmp_path, message_retention_s=1, replay_window_s=1)
    sent = house.worker.send("ada", "anybody?", sender="bob")
    record: MessageRecord = sent.record()
    assert record.expires_at is not None
    assert 0 < record.expires_at - record.message.created_at <= 1000
    client.hset(KEYS.message(sent.message_id), "expires_at", record.message.created_at)
    client.zadd(KEYS.message_timers, {f"ttl {sent.message_id} ada 0": 1})
    do_what_is_due(client, house.worker)
    assert sent.status() is MessageState.EXPIRED
