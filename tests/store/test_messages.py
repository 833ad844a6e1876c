"""Messages on a real server: order, leases, retries, ttl, idempotency, replies, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from orchestrator import DeliveryOptions, HandoffState, MessageInvalid, MessageNotFound, MessageState, UnknownAgent
from orchestrator.agents.mail import wake_message
from orchestrator.agents.post import PostOffice, Receipt
from orchestrator.errors import AgentOffline, MessageNotHeld, WaitTimeout
from orchestrator.messages import AgentMessage, MessagePriority
from orchestrator.records import StepError
from orchestrator.runtime.doorbells import doorbell
from orchestrator.settings import Settings
from orchestrator.states import MESSAGE_TRANSITIONS
from orchestrator.store.connection import server_now_ms
from orchestrator.store.directory import boxes_of
from orchestrator.store.inbox import PASSED_OVER, Inbox
from orchestrator.store.timers import Timers
from tests.conftest import KEYS
from tests.waiting import wait_until

ERROR = StepError("ValueError", "no")


@pytest.fixture
def send(office: PostOffice) -> Callable[..., Receipt]:
    def send_one(to: str = "ada", text: str = "hi", **options: Any) -> Receipt:
        return office.send(to, text, sender="bob", **options)

    return send_one


def take(office: PostOffice, agent: str = "ada", lease_ms: int = 60_000, **options: Any) -> Any:
    return office.inbox.claim(boxes_of(agent), receiver="r", lease_ms=lease_ms, **options)


def end(office: PostOffice, delivery: Any, outcome: str = "acknowledged", **options: Any) -> None:
    office.inbox.finish(delivery.message.message_id, outcome, receiver="r", box=delivery.box, **options)


def drain(office: PostOffice, agent: str = "ada") -> Iterator[str]:
    while (delivery := take(office, agent)) is not None:
        yield delivery.message.text or ""
        end(office, delivery)


def do_what_is_due(client: redis.Redis, office: PostOffice) -> int:
    due = Timers(client, KEYS).take_due_messages(limit=100, hold_ms=0).timers
    for timer in due:
        wake_message(office, timer)
    return len(due)


# --- order ----------------------------------------------------------------------------------------------------------


def test_the_most_urgent_goes_first_and_within_a_priority_the_oldest(office: PostOffice, send: Any) -> None:
    for number in range(3):
        for priority in MessagePriority:
            send(text=f"{priority}{number}", priority=priority)
    wanted = [f"{priority}{n}" for priority in reversed(MessagePriority) for n in range(3)]
    assert list(drain(office)) == wanted


def test_an_emergency_overtakes_what_waits_already(office: PostOffice, send: Any) -> None:
    send(text="a", priority="urgent")
    first = take(office)
    send(text="b", priority="urgent")
    send(text="now", priority="emergency")
    assert take(office).message.text == "now"
    assert first.message.text == "a"


def test_a_low_message_moves_although_high_ones_never_end(
    office: PostOffice, send: Any, client: redis.Redis
) -> None:
    send(text="low", priority="low")
    for number in range(PASSED_OVER):
        send(text=str(number), priority="high")
    seen = []
    for _ in range(PASSED_OVER + 1):
        send(text="more", priority="high")
        since = f"passed {KEYS.inbox('ada')} since"
        if client.hexists(KEYS.queues, since):
            client.hset(KEYS.queues, since, 0)  # it has lasted for long
        delivery = take(office)
        seen.append(delivery.message.text)
        end(office, delivery)
    assert "low" in seen


def test_a_short_backlog_is_in_exact_order_however_long_it_is(office: PostOffice, send: Any) -> None:
    send(text="low", priority="low")
    for number in range(3 * PASSED_OVER):
        send(text=str(number), priority="high")
    assert list(drain(office)) == [*map(str, range(3 * PASSED_OVER)), "low"]


def test_a_timer_for_what_has_no_end_changes_nothing_and_is_forgotten(
    office: PostOffice, send: Any, client: redis.Redis
) -> None:
    held, waiting = send(), send()
    assert take(office, lease_ms=0).message.message_id == held.message_id  # until it is closed
    client.zadd(KEYS.message_timers, {f"lease {held.message_id} ada 1": 1, f"ttl {waiting.message_id} ada 0": 1})
    assert do_what_is_due(client, office) == 2
    assert (held.status(), waiting.status()) == (MessageState.DELIVERED, MessageState.PENDING)
    assert client.zrange(KEYS.message_timers, 0, -1) == []


# --- states ---------------------------------------------------------------------------------------------------------


def test_a_message_is_pending_then_delivered_then_acknowledged(office: PostOffice, send: Any) -> None:
    receipt = send()
    assert receipt.status() is MessageState.PENDING
    delivery = take(office)
    assert receipt.status() is MessageState.DELIVERED
    end(office, delivery)
    record = receipt.record()
    assert record.state is MessageState.ACKNOWLEDGED
    assert record.message.created_at <= record.delivered_at <= record.finished_at
    assert [attempt.worker for attempt in record.attempts] == ["r"]


def test_queue_size_falls_when_a_message_is_taken(office: PostOffice, send: Any) -> None:
    send()
    assert office.inbox.size("ada") == 1
    take(office)
    assert office.inbox.size("ada") == 0


def test_an_agent_that_handles_a_message_is_busy(office: PostOffice, send: Any) -> None:
    def activity() -> tuple[str, int]:
        row = next(agent for agent in office.directory.overview() if agent["name"] == "writer")
        return row["activity"], row["running"]

    send("writer")
    assert activity() == ("idle", 0)
    delivery = take(office, "writer")
    assert activity() == ("busy", 1)
    end(office, delivery)
    assert activity() == ("idle", 0)


def test_only_who_holds_a_message_can_close_it(office: PostOffice, send: Any) -> None:
    receipt = send()
    with pytest.raises(MessageNotHeld, match="is pending, nobody holds it"):
        office.inbox.finish(receipt.message_id, "acknowledged", receiver="r", box="ada")
    take(office)
    with pytest.raises(MessageNotHeld, match="is held by r"):
        office.inbox.finish(receipt.message_id, "acknowledged", receiver="other", box="ada")
    with pytest.raises(MessageNotFound, match="no message 'none'"):
        office.inbox.finish("none", "acknowledged", receiver="r", box="ada")
    assert receipt.status() is MessageState.DELIVERED


def test_a_lapsed_lease_brings_the_message_back_and_the_third_loss_ends_it(
    office: PostOffice, send: Any, client: redis.Redis
) -> None:
    receipt = send()
    for attempt in (1, 2, 3):
        assert take(office, lease_ms=1).attempt == attempt
        wait_until(lambda: do_what_is_due(client, office), what="the lease to lapse", timeout_s=2)
    record = receipt.record()
    assert record.state is MessageState.DEAD
    assert record.error.type == "WorkerLost"
    assert [letter.message.message_id for letter in office.inbox.dead_letters()] == [receipt.message_id]


def test_a_late_answer_changes_nothing(office: PostOffice, send: Any, client: redis.Redis) -> None:
    receipt = send()
    first = take(office, lease_ms=1)
    wait_until(lambda: do_what_is_due(client, office), what="the lease to lapse", timeout_s=2)
    second = take(office)
    with pytest.raises(MessageNotHeld):
        end(office, first, attempt=first.attempt)
    end(office, second, attempt=second.attempt)
    assert receipt.status() is MessageState.ACKNOWLEDGED


def test_a_retry_keeps_count_and_history(office: PostOffice, send: Any) -> None:
    receipt = send()
    for _ in range(2):
        end(office, take(office), "pending", error=ERROR)
    last = take(office)
    assert (last.attempt, last.failures) == (3, 2)
    end(office, last, "dead", error=ERROR)
    record = receipt.record()
    assert [attempt.error.message for attempt in record.attempts] == ["no"] * 3
    assert record.state is MessageState.DEAD


def test_a_message_at_most_once_is_not_brought_back(office: PostOffice, send: Any, client: redis.Redis) -> None:
    receipt = send(delivery_options=DeliveryOptions(require_ack=False))
    take(office, lease_ms=1)
    wait_until(lambda: do_what_is_due(client, office), what="the lease to lapse", timeout_s=2)
    assert receipt.status() is MessageState.DEAD


def test_ttl_is_enforced_at_the_claim_and_by_the_keeper(office: PostOffice, send: Any, client: redis.Redis) -> None:
    receipt = send(delivery_options=DeliveryOptions(ttl_seconds=0.01))
    expires_at = receipt.record().expires_at
    wait_until(lambda: server_now_ms(client) > expires_at, what="the end of its time", timeout_s=1)
    assert take(office) is None
    wait_until(
        lambda: do_what_is_due(client, office) and receipt.status() is MessageState.EXPIRED, what="expiry", timeout_s=2
    )


def test_a_message_that_is_not_persistent_does_not_wait(send: Any) -> None:
    lost = send(delivery_options=DeliveryOptions(persistent=False))
    assert not lost
    assert lost.status() is MessageState.EXPIRED
    kept = send("writer", delivery_options=DeliveryOptions(persistent=False))
    assert kept
    assert kept.recipient_state == "online"


def test_a_delayed_message_comes_when_it_is_due(office: PostOffice, send: Any, client: redis.Redis) -> None:
    send(delay_s=0.05)
    assert take(office) is None
    wait_until(lambda: do_what_is_due(client, office), what="the due time", timeout_s=2)
    assert take(office).message.text == "hi"


def test_the_same_idempotency_key_is_one_message(office: PostOffice, send: Any) -> None:
    first, second = send(idempotency_key="k"), send(text="other", idempotency_key="k")
    assert first.message_id == second.message_id
    assert list(drain(office)) == ["hi"]


# --- replies --------------------------------------------------------------------------------------------------------


def test_a_reply_names_what_it_answers_and_the_receipt_finds_it(office: PostOffice, send: Any) -> None:
    question = send(message_type="question", thread_id="t")
    office.reply(take(office).message, "yes")
    answer = question.reply(1)
    assert (answer.text, answer.correlation_id, answer.message_type) == ("yes", question.message_id, "answer")
    assert [record.message.text for record in office.inbox.thread("t")] == ["hi", "yes"]
    assert office.inbox.read(answer.message_id).state is MessageState.ACKNOWLEDGED


def test_a_late_reply_is_kept_and_marked(office: PostOffice, client: redis.Redis) -> None:
    with pytest.raises(WaitTimeout, match="no reply"):
        office.ask("ada", "?", sender="writer", timeout_s=0.05)
    reply = office.reply(take(office).message, "too late")
    record = reply.record()
    assert record.late
    assert take(office, "writer").message.text == "too late"


def test_a_reply_in_time_does_not_go_to_the_inbox_of_who_waits(office: PostOffice, send: Any) -> None:
    question = send("ada", awaited_s=30)
    office.reply(take(office).message, "yes")
    assert office.inbox.size("bob") == 0
    assert question.reply(1).text == "yes"


# --- many -----------------------------------------------------------------------------------------------------------


def test_a_broadcast_is_stored_once_for_each_recipient_but_the_sender(office: PostOffice) -> None:
    office.directory.register("cleo")
    receipts = office.broadcast("all", sender="ada")
    assert set(receipts) == {"writer", "cleo"}
    with pytest.raises(WaitTimeout, match="0 of 2"):
        receipts.wait_acks(0.5, timeout_s=0.05)
    end(office, take(office, "cleo"))
    assert receipts.wait_acks(0.5, timeout_s=1)["cleo"] is MessageState.ACKNOWLEDGED
    assert set(office.broadcast("some", sender="x", capability="reviewing")) == {"ada"}
    assert office.broadcast("none", sender="x", capability="diving") == {}


def test_a_broadcast_with_an_unknown_recipient_stores_nothing(office: PostOffice, client: redis.Redis) -> None:
    with pytest.raises(UnknownAgent, match=r"no agent 'wrter' \(did you mean writer\?\)"):
        office.broadcast("x", sender="y", to=["ada", "wrter"])
    assert not client.exists(KEYS.inbox("ada"))


def test_a_capability_goes_to_an_online_agent_or_is_parked_until_one_appears(office: PostOffice, send: Any) -> None:
    assert send("capability:writing").message.to_agent == "writer"
    parked = send("capability:painting")
    office.route(office.inbox.parked())
    assert parked.record().box == "capability:painting"
    office.directory.register("mona", ["painting"])
    office.directory.attend("r", "mona")
    office.route(office.inbox.parked())
    assert take(office, "mona").message.message_id == parked.message_id


# --- rings ----------------------------------------------------------------------------------------------------------


def test_every_message_to_a_workers_agent_rings_once(send: Any, client: redis.Redis) -> None:
    for _ in range(3):
        send("writer", priority="high")
    assert client.llen("agent.writer\x06\x164") == 3
    body = json.loads(json.loads(client.lindex("agent.writer\x06\x164", 0))["body"])
    assert body[0][0] == "writer"
    assert body[0][1].split(" ")[:2] == ["writer", "high"]
    assert client.zcard(KEYS.rings) == 3


def test_a_claim_uses_up_its_ring(office: PostOffice, send: Any, client: redis.Redis) -> None:
    send("writer")
    ring = client.zrange(KEYS.rings, 0, 0)[0]
    delivery = take(office, "writer", ring=ring)
    assert client.zcard(KEYS.rings) == 0
    assert office.inbox.extend([ring], receiver="r", lease_ms=1000) == 1
    end(office, delivery)
    assert office.inbox.extend([ring], receiver="r", lease_ms=1000) == 0
    assert not client.exists(KEYS.held)


# --- handoffs -------------------------------------------------------------------------------------------------------


def test_a_handoff_keeps_its_chain_of_custody(office: PostOffice) -> None:
    task = office.handoff("writer", "draft", {"topic": "tea"}, sender="ada", context={"note": "x"})
    assert {"working_directory", "git_branch", "timestamp", "note"} <= set(task.message.body["context"])
    delivery = take(office, "writer")
    assert delivery.task == "draft"
    assert take(office, "writer", message_id=task.message_id) is None
    end(office, delivery, result='{"text": "t"}')
    record = task.record()
    assert record.handoff is HandoffState.COMPLETED
    assert [(link.state, link.owner) for link in record.custody] == [
        ("offered", "ada"), ("accepted", "writer"), ("in_progress", "writer"), ("completed", "writer"),
    ]  # fmt: skip
    assert (record.owner, record.previous_owner, record.result) == ("writer", "ada", {"text": "t"})


def test_a_handoff_nobody_accepts_goes_back_to_its_sender(office: PostOffice, client: redis.Redis) -> None:
    task = office.handoff("writer", "draft", sender="ada", offer_s=0.01)
    wait_until(
        lambda: do_what_is_due(client, office) and task.record().handoff is HandoffState.EXPIRED,
        what="the return", timeout_s=2,
    )  # fmt: skip
    assert task.record().owner == "ada"


def test_a_declined_handoff_goes_back_with_the_reason(office: PostOffice) -> None:
    task = office.handoff("writer", "draft", sender="ada")
    box = task.record().box
    office.inbox.finish(task.message_id, "declined", receiver="r", box=box, error=StepError("Declined", "busy"))
    record = task.record()
    assert (record.handoff, record.owner, record.custody[-1].reason) == (HandoffState.DECLINED, "ada", "busy")
    with pytest.raises(MessageNotHeld):
        office.inbox.finish(task.message_id, "declined", receiver="r", box=box)


# --- dead letters ---------------------------------------------------------------------------------------------------


def test_a_dead_letter_is_replayed_as_a_new_message_once(office: PostOffice, send: Any) -> None:
    old = send()
    end(office, take(office), "dead", error=ERROR)
    new = office.replay(old.message_id)
    assert take(office).message.metadata["replay_of"] == old.message_id
    assert office.inbox.dead_letters() == []
    with pytest.raises(MessageNotHeld, match=f"was replayed as {new.message_id}"):
        office.replay(old.message_id)


def test_two_who_replay_a_dead_letter_at_once_send_one_message(
    office: PostOffice, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = send()
    end(office, take(office), "dead", error=ERROR)
    with monkeypatch.context() as patch:
        patch.setattr(office.inbox, "mark_replayed", lambda *_: None)  # the first one has not come so far
        first = office.replay(old.message_id)
    assert office.replay(old.message_id).message_id == first.message_id
    assert take(office).message.message_id == first.message_id
    assert office.inbox.peek(["ada"]) == []


def test_a_purged_letter_is_gone(office: PostOffice, send: Any) -> None:
    old = send()
    end(office, take(office), "dead", error=ERROR)
    assert office.inbox.purge([old.message_id]) == 1
    with pytest.raises(MessageNotFound):
        old.record()


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "content", "options", "field"),
    [
        ("ada", "", {}, "body"),
        ("ada", None, {}, "body"),
        ("ada", "x" * (1 << 20), {}, "body"),
        ("ada", float("nan"), {}, "body"),
        ("ada", "x", {"priority": "hihg"}, "priority"),
        ("ada", "x", {"message_type": "qestion"}, "type"),
        ("a b", "x", {}, "to"),
        ("", "x", {}, "to"),
        ("ada", "x", {"delay_s": -1}, "delay"),
        ("ada", "x", {"on_offline": "maybe"}, "on_offline"),
    ],
)
def test_a_message_with_a_mistake_is_refused_and_nothing_is_stored(
    office: PostOffice, client: redis.Redis, to: str, content: Any, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(MessageInvalid) as refused:
        office.send(to, content, sender="bob", **options)
    assert refused.value.field == field
    assert not list(client.scan_iter("t:msg:*"))


@pytest.mark.parametrize(
    "options", [{"ttl_seconds": 0}, {"ttl_seconds": -1}, {"max_retries": -1}, {"max_retries": 1.5}]
)
def test_delivery_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(MessageInvalid, match=next(iter(options))):
        DeliveryOptions(**options)


def test_an_unknown_recipient_and_a_reply_to_nothing_are_errors(office: PostOffice, send: Any) -> None:
    with pytest.raises(UnknownAgent, match="did you mean writer"):
        send("writr")
    with pytest.raises(MessageNotFound):
        office.reply("none", "x")
    with pytest.raises(AgentOffline, match="nobody serves the agent ada"):
        send("ada", on_offline="fail")


def test_a_newer_versions_type_and_fields_are_carried() -> None:
    data = {"message_id": "1", "from_agent": "a", "to_agent": "b", "message_type": "telepathy", "mood": "good"}
    message = AgentMessage.from_json(data, body={"x": 1}, created_at=5)
    assert (message.message_type, message.extra) == ("telepathy", {"mood": "good"})
    assert message.to_json()["mood"] == "good"


def test_the_law_of_messages_ends_in_terminal_states() -> None:
    assert {state for state, moves in MESSAGE_TRANSITIONS.items() if not moves} == {
        state for state in MessageState if state.terminal
    }


def test_a_short_journal_costs_no_message(client: redis.Redis, server: Any, office: PostOffice) -> None:
    short = Settings(message_retention_s=60, lease_s=1, journal_events=100)
    post = PostOffice(
        Inbox(client, KEYS, short, doorbell), office.directory, short, blocking=office.blocking, publish=office.publish
    )
    for number in range(400):
        post.send("ada", str(number), sender="bob")
    assert client.xlen(KEYS.journal) < 400
    assert list(drain(office)) == [str(number) for number in range(400)]
