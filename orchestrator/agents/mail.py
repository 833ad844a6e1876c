"""One attempt at one message: call the handler, and commit what came of it in one step. Knows no Celery.

Workers and receivers in other processes share it; they differ only in how the handler is called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from orchestrator.agents.drafts import draft_reply
from orchestrator.agents.failures import asked_for_ms, hopeless, step_error, unheard, worker_lost
from orchestrator.agents.message_spans import received
from orchestrator.agents.post import PostOffice
from orchestrator.agents.secrets import Secrets
from orchestrator.agents.spans import ended
from orchestrator.agents.values import encode
from orchestrator.backoff import retry_delay_ms
from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.errors import MessageNotFound, MessageNotHeld
from orchestrator.logs import Subject, about
from orchestrator.outcomes import Done, Fatal
from orchestrator.records import Delivery, Draft, Posted
from orchestrator.settings import Settings
from orchestrator.store.inbox import Inbox
from orchestrator.store.patience import ANSWER_S, insist
from orchestrator.store.timers import Timer

Json = Any
log = logging.getLogger(__name__)
LONGEST_RETRY_MS = 60_000
Handler = Callable[[Delivery, list[Draft]], Json]  # (what came, what it sends) -> what it answers


def handle(
    inbox: Inbox,
    settings: Settings,
    delivery: Delivery,
    handler: Handler,
    secrets: Secrets,
    *,
    leaving: Callable[[], bool] = lambda: False,
) -> list[Posted]:
    """Call the handler of a message that is claimed, and record the outcome.

    Args:
        handler: appends the messages it sends to the list; what it returns is the reply, or a handoff's result.
        secrets: are taken out of everything that leaves the handler.
        leaving: whether this process was told to end. An error is then raised, not recorded.
    Returns:
        What was stored, for those who must still publish rings.
    """
    message = delivery.message
    subject = Subject(message.to_agent, delivery.attempt, message=message.message_id, redact=secrets.redact)
    with about(subject), received(settings, delivery):
        return _handle(inbox, settings, delivery, handler, secrets, leaving)


def _handle(
    inbox: Inbox, settings: Settings, delivery: Delivery, handler: Handler, secrets: Secrets,
    leaving: Callable[[], bool],
) -> list[Posted]:  # fmt: skip
    drafts: list[Draft] = []
    try:
        reach(CrashPoint.HANDLER_BEGUN)
        answer = handler(delivery, drafts)
        reach(CrashPoint.EFFECT_DONE)
        if isinstance(answer, Done):
            answer = answer.output
        result = ""
        if delivery.task:
            result = secrets.redact_json(encode(answer, max_bytes=settings.max_output_bytes, what="the result"))
        elif answer is not None and delivery.message.correlation_id is None:
            # What is returned for a reply is no reply: two agents that both return something would never stop.
            drafts.append(draft_reply(settings, delivery.message, secrets.redact_value(answer)))
        return _commit(inbox, delivery, "acknowledged", result=result, drafts=drafts)
    except (Exception, SystemExit) as error:
        if leaving():
            raise
        return _fail(inbox, delivery, error, secrets)


def wake_message(office: PostOffice, timer: Timer) -> None:
    """Do what is due to a message: a lease that is over, a retry, a delayed delivery, the end of its time to live."""
    error = worker_lost(office.settings, unheard(office.settings))
    ring = office.inbox.wake(
        timer.kind, timer.run_id, timer.step_id, timer.attempt, error=step_error(error, timer.run_id, timer.attempt)
    )
    if ring is not None:
        office.carry([ring])


def _fail(inbox: Inbox, delivery: Delivery, error: BaseException, secrets: Secrets) -> list[Posted]:
    message = delivery.message
    stored = step_error(error, message.message_id, delivery.attempt, trace=True, redact=secrets.redact)
    log.warning("message %s to %s failed: %s\n%s", message.message_id, message.to_agent, stored.type, stored.traceback)
    options = message.delivery_options
    outcome = "pending"
    if isinstance(error, Fatal):
        outcome = "failed"
    elif hopeless(error) or not options.require_ack or delivery.failures >= options.max_retries:
        outcome = "failed" if delivery.task else "dead"
    ended(outcome, error)
    if outcome != "pending":
        return _commit(inbox, delivery, outcome, error=stored)
    delay_ms = retry_delay_ms(
        delivery.failures + 1,
        delay_ms=round(options.retry_delay_seconds * 1000),
        max_delay_ms=LONGEST_RETRY_MS,
        jitter=True,
        floor_ms=asked_for_ms(error),
    )
    return _commit(inbox, delivery, outcome, error=stored, delay_ms=delay_ms)


def _commit(inbox: Inbox, delivery: Delivery, outcome: str, **parts: Any) -> list[Posted]:
    message = delivery.message
    try:
        posted = insist(
            lambda _: inbox.finish(
                message.message_id, outcome, receiver=delivery.receiver, box=delivery.box, attempt=delivery.attempt,
                priority=message.priority, **parts,
            ),
            for_s=ANSWER_S,
        )  # fmt: skip
        reach(CrashPoint.RESULT_RECORDED)
        return posted
    except (MessageNotHeld, MessageNotFound) as error:
        ended("superseded")
        log.warning("LeaseLost: attempt %d came too late: %s", delivery.attempt, error)
        return []
