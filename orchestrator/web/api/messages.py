"""What the API does with agents, messages and handoffs. Each function gets a checked call and returns a document."""

from __future__ import annotations

from typing import Any

from orchestrator.documents import message_document, task_document
from orchestrator.errors import MessageNotFound
from orchestrator.messages import DeliveryOptions, MessageType
from orchestrator.states import MessageState
from orchestrator.store.correspondence import sent_lately
from orchestrator.web.api.route import MOST, Call

Json = Any


def list_agents(call: Call) -> Json:
    return {"agents": call.client.agents(call.query["capability"] or None)}


def list_messages(call: Call) -> Json:
    asked, store = call.query, call.client.store
    with call.client.asking():
        found, place = sent_lately(
            store.client, store.keys, agent=asked["agent"] or None,
            state=MessageState(asked["status"]) if asked["status"] else None, before=asked["after"] or None,
            limit=asked["limit"],
        )  # fmt: skip
    return {"messages": [message_document(record) for record in found], "next": place}


def send(call: Call) -> Json:
    body = call.body
    receipt = call.client.send(
        body["to"], body["content"], sender=body.get("from"),
        message_type=body.get("type", MessageType.INFORMATION_SHARE), priority=body.get("priority", "medium"),
        delivery_options=DeliveryOptions(ttl_seconds=body.get("ttl_s")), thread_id=body.get("thread_id"),
        idempotency_key=body.get("idempotency_key"),
    )  # fmt: skip
    record = call.client.message(receipt.message_id)
    return message_document(record) | {"recipient_state": receipt.recipient_state}


def show_message(call: Call) -> Json:
    return message_document(call.client.message(call.path["message"]))


def show_thread(call: Call) -> Json:
    with call.client.asking():
        found = call.client.office.inbox.thread(call.path["thread"], MOST)
    return {"messages": [message_document(record) for record in found]}


def list_dead(call: Call) -> Json:
    with call.client.asking():
        found = call.client.office.inbox.dead_letters(call.query["limit"])
    return {"messages": [message_document(record) for record in found]}


def replay(call: Call) -> Json:
    with call.client.asking():
        receipt = call.client.office.replay(call.path["message"])
    return message_document(call.client.message(receipt.message_id))


def list_handoffs(call: Call) -> Json:
    state = call.query["status"]
    with call.client.asking():
        found = call.client.office.inbox.handoffs(call.query["limit"])
    return {"handoffs": [task_document(record) for record in found if state in ("", record.handoff)]}


def show_handoff(call: Call) -> Json:
    record = call.client.message(call.path["task"])
    if record.handoff is None:
        raise MessageNotFound(f"message {call.path['task']} is no handoff", message_id=call.path["task"])
    return task_document(record)
