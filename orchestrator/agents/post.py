"""`PostOffice`: send, broadcast, ask, reply, hand off, replay; and receipts. The one core behind every face.

The commands, `Client`, the async bus, the services and a handler's context all come through here.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.agents.drafts import draft_handoff, draft_message, draft_reply, encode_body
from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.errors import (
    AgentOffline,
    BadSignature,
    HandoffFailed,
    MessageInvalid,
    MessageNotHeld,
    UnknownAgent,
    UnknownTask,
    WaitTimeout,
)
from orchestrator.ids import new_id
from orchestrator.messages import AgentMessage, MessageType
from orchestrator.records import Draft, MessageRecord, Posted, rfc3339
from orchestrator.settings import Settings
from orchestrator.states import HandoffState, MessageState
from orchestrator.store.directory import Directory
from orchestrator.store.inbox import CAPABILITY, Inbox, Rerouted
from orchestrator.store.patience import insist
from orchestrator.workflow.nearby import did_you_mean, listed

Json = Any
SHADOW = "shadow:"  # what the thread of an agent's copies starts with
TMUX = "tmux"  # the agent that pastes into windows
_BLOCK_MS = 500


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a sender gets: true when the message is stored durably.

    `recipient_state` is online or offline, as it was when the message was stored.
    """

    message: AgentMessage
    message_id: str
    recipient_state: str
    stored: bool
    office: PostOffice

    def __bool__(self) -> bool:
        return self.stored

    def status(self) -> MessageState:
        """Where the message is now."""
        return self.record().state

    def record(self) -> MessageRecord:
        return self.office.inbox.read(self.message_id)

    def wait(
        self, status: MessageState | str = MessageState.ACKNOWLEDGED, timeout_s: float | None = None
    ) -> MessageRecord:
        """Wait until the message has reached a state, or is past it for good.

        Raises:
            WaitTimeout: it has not after `timeout_s` seconds, or has ended in another state.
        """
        wanted = MessageState(status)
        for record in self.office.watch(self.message_id, timeout_s):
            reached = record.state is wanted or (wanted is MessageState.DELIVERED and record.attempts)
            if reached:
                return record
            if record.state.terminal:
                raise WaitTimeout(f"message {self.message_id} is {record.state}, never {wanted}", record=record)
        raise WaitTimeout(f"message {self.message_id} is not {wanted} after {timeout_s:g} s")

    def reply(self, timeout_s: float | None = None, *, take: bool = True) -> AgentMessage:
        """Wait for the reply.

        Args:
            take: acknowledge the reply, because nobody else will receive it.
        Raises:
            WaitTimeout: none within `timeout_s`, or the message ended without one.
        """
        return self.office.wait_for_reply(self.message_id, timeout_s, taker=self.message.from_agent if take else None)


class Broadcast(dict[str, Receipt]):
    """The receipts of a broadcast, by agent."""

    def matrix(self) -> dict[str, MessageState]:
        """Where each delivery is now."""
        return {name: receipt.status() for name, receipt in self.items()}

    def wait_acks(self, fraction: float = 1.0, timeout_s: float | None = None) -> dict[str, MessageState]:
        """Wait until this share (0 to 1) of the recipients has acknowledged; returns the matrix.

        Raises:
            WaitTimeout: they have not after `timeout_s`, or too many deliveries have ended otherwise.
        """
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        needed = math.ceil(fraction * len(self))
        while True:
            matrix = self.matrix()
            good = sum(state is MessageState.ACKNOWLEDGED for state in matrix.values())
            if good >= needed:
                return matrix
            open_ones = [name for name, state in matrix.items() if not state.terminal]
            if good + len(open_ones) < needed or time.monotonic() >= until:
                raise WaitTimeout(f"{good} of {len(self)} have acknowledged, {needed} were to", matrix=matrix)
            waited = self[open_ones[0]]
            for record in waited.office.watch(waited.message_id, min(1.0, max(0.0, until - time.monotonic()))):
                if record.state.terminal:
                    break


class PostOffice:
    """The messages of one installation.

    Args:
        blocking: gives a client for reads that wait on the server.
        publish: sends rings where the broker is another server.
    """

    def __init__(
        self,
        inbox: Inbox,
        directory: Directory,
        settings: Settings,
        *,
        blocking: Callable[[], Any],
        publish: Callable[[Sequence[Posted]], None],
    ) -> None:
        self.inbox = inbox
        self.directory = directory
        self.settings = settings
        self.blocking = blocking
        self.publish = publish

    # --- send ------------------------------------------------------------------------------------------------

    def send(self, to: str, content: Json, *, sender: str, on_offline: str = "wait", **options: Any) -> Receipt:
        """Store a message for an agent, or for `capability:NAME`: the least loaded online agent that has it.

        Args:
            on_offline: `fail` raises AgentOffline, and stores nothing, where nobody serves the agent.
            options: see `draft_message`.
        Raises:
            MessageInvalid: names the field. UnknownAgent: with near names. AgentOffline. StoreUnavailable.
        """
        draft = draft_message(self.settings, to=to, sender=sender, content=content, **options)
        if to.startswith(CAPABILITY):
            draft = self.address(draft)
        self.check_presence(draft.message.to_agent, on_offline)
        return self.post([draft])[0]

    def broadcast(
        self,
        content: Json,
        *,
        sender: str,
        to: Sequence[str] | None = None,
        capability: str | None = None,
        message_type: MessageType | str = MessageType.BROADCAST,
        **options: Any,
    ) -> Broadcast:
        """Store one message for each recipient, all or none: those named, or every agent registered now, or those
        with a capability; never the sender. Returns agent -> receipt.

        Raises:
            MessageInvalid: names nobody, or more than `max_broadcast` agents; nothing was stored.
        """
        if to is not None and not to:
            raise MessageInvalid("to: names nobody; leave it out for every registered agent", field="to")
        if to is None:
            known = self.directory.registered()
            # TMUX only pastes for others, and would not know where.
            known = [info for info in known if info.name != TMUX]
            to = [info.name for info in known if capability is None or capability in info.capabilities]
        names = [name for name in dict.fromkeys(to) if name != sender]
        if len(names) > self.settings.max_broadcast:
            most = f"at most {self.settings.max_broadcast:,} (ORCHESTRATOR_MAX_BROADCAST)"
            raise MessageInvalid(f"to: {len(names):,} agents; a broadcast goes to {most}", field="to")
        group = {"broadcast_id": new_id()}
        metadata = {**options.pop("metadata", {}), **group}
        drafts = [
            draft_message(
                self.settings, to=name, sender=sender, content=content, message_type=message_type, metadata=metadata,
                **options,
            )
            for name in names
        ]  # fmt: skip
        if not drafts:  # nobody to send to; the message is checked all the same
            draft_message(
                self.settings, to="nobody", sender=sender, content=content, message_type=message_type, **options
            )
        return Broadcast(zip(names, self.post(drafts), strict=True))

    def reply(self, original: AgentMessage | Receipt | str, content: Json, **options: Any) -> Receipt:
        """Answer a message, given itself, its receipt or its id.

        Raises:
            MessageNotFound: no such message. ReplyNotAllowed: it was for another agent.
        """
        message_id = original if isinstance(original, str) else original.message_id
        return self.post([draft_reply(self.settings, self.inbox.read(message_id).message, content, **options)])[0]

    def ask(self, to: str, content: Json, *, sender: str, timeout_s: float = 30.0, **options: Any) -> AgentMessage:
        """Send a question and wait for the reply.

        Raises:
            WaitTimeout: none within `timeout_s`; one that comes later is kept and marked late.
        """
        kind = options.pop("message_type", MessageType.QUESTION)
        receipt = self.send(to, content, sender=sender, message_type=kind, awaited_s=timeout_s, **options)
        return receipt.reply(timeout_s)

    def replay(self, message_id: str) -> Receipt:
        """Send a dead letter again, as a new message that names the old one.

        Two that do so at once send the same new message.

        Raises:
            MessageNotHeld: it is not dead, or was sent again already. BadSignature: it is not its sender's.
        """
        record = self.inbox.read_checked(message_id)
        if record.state not in (MessageState.DEAD, MessageState.FAILED) or record.replayed_as:
            state = f"was replayed as {record.replayed_as}" if record.replayed_as else f"is {record.state}"
            raise MessageNotHeld(f"message {message_id} {state}; only a dead letter can be replayed")
        message = replace(
            record.message, message_id=new_id(), metadata={**record.message.metadata, "replay_of": message_id}
        )
        body, once = encode_body(message.body, self.settings), f"replay:{message_id}"
        draft = Draft(message, body, box=record.box, task=record.task, idempotency_key=once)
        receipt = self.post([replace(draft, open=message.correlation_id is not None)])[0]
        self.inbox.mark_replayed(message_id, receipt.message_id)
        return receipt

    # --- handoffs --------------------------------------------------------------------------------------------

    def handoff(
        self,
        to: str,
        task: str | None,
        values: Mapping[str, Json] | None = None,
        *,
        sender: str,
        context: Mapping[str, Json] | None = None,
        **options: Any,
    ) -> Receipt:
        """Offer a task to an agent. The receipt's `message_id` is the task's id.

        Args:
            task: its name; None: the agent's only one.
            context: laid over the working directory, the git branch and the time.
            options: see `draft_handoff`.
        Raises:
            UnknownAgent, UnknownTask: with near names. MessageInvalid: names the field.
        """
        draft = self.draft_handoff(to, task, values or {}, sender=sender, context=context or {}, **options)
        return self.post([draft])[0]

    def draft_handoff(
        self, to: str, task: str | None, values: Mapping[str, Json], *, sender: str, context: Mapping[str, Json],
        **options: Any,
    ) -> Draft:  # fmt: skip
        """What `handoff` stores."""
        agent = self._resolve(to) or to
        named = self._task_of(agent, task)
        return draft_handoff(
            self.settings, to=agent, sender=sender, task=named, values=values, context={**here(), **context}, **options
        )

    def hands(self, to: str, task: str | None, same: str | None) -> tuple[str, str]:
        """The agent and task that go on with a step. `same`: the task it had. Raises UnknownAgent, UnknownTask."""
        agent = self._resolve(to) or to
        info = self.directory.info(agent)
        if task is None and info is not None and same is not None and info.task(same):
            task = same
        return agent, self._task_of(agent, task)

    def wait_for_task(self, task_id: str, timeout_s: float | None = None) -> MessageRecord:
        """Wait for the end of a handoff, whatever it is. Raises WaitTimeout."""
        for record in self.watch(task_id, timeout_s):
            if record.state.terminal:
                return record
        raise WaitTimeout(f"task {task_id} is not over after {timeout_s:g} s")

    def result_of_task(self, task_id: str, timeout_s: float | None = None) -> Json:
        """Wait for the result of a handoff. Raises HandoffFailed, WaitTimeout."""
        record = self.wait_for_task(task_id, timeout_s)
        if record.handoff is HandoffState.COMPLETED:
            return record.result
        why = f": {record.error.message}" if record.error else ""
        raise HandoffFailed(f"task {task_id} {record.handoff}{why}", status=record.handoff, task_id=task_id)

    # --- who there is ----------------------------------------------------------------------------------------

    def register(self, name: str, capabilities: Iterable[str] = ()) -> None:
        """As `Directory.register`. Raises NotYourMessage: the key of this process is of another agent."""
        self.inbox.signatures.allow(name)
        self.directory.register(name, capabilities)

    def unregister(self, name: str) -> bool:
        """As `Directory.unregister`. Raises NotYourMessage: the key of this process is of another agent."""
        self.inbox.signatures.allow(name)
        return self.directory.unregister(name)

    # --- receive ---------------------------------------------------------------------------------------------

    def watch(self, message_id: str, timeout_s: float | None) -> Iterator[MessageRecord]:
        """The record now and after every change, until the time is over."""
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        block_ms = _BLOCK_MS if timeout_s is None else max(1, min(_BLOCK_MS, round(timeout_s * 1000)))
        for record in self.inbox.changes(self.blocking(), message_id, block_ms=block_ms):
            yield record
            if time.monotonic() >= until:
                return

    def wait_for_reply(self, message_id: str, timeout_s: float | None, *, taker: str | None) -> AgentMessage:
        """The first reply to a message. `taker` acknowledges it under that name, if nobody has.

        Raises:
            WaitTimeout. BadSignature: the reply is not from whom the message was for.
        """
        for record in self.watch(message_id, timeout_s):
            if record.reply:
                answer = self.inbox.read_checked(record.reply)
                self._see_that_it_answers(record.message, answer.message)
                if taker and answer.state is MessageState.PENDING:
                    self._take(answer, taker)
                return answer.message
            if record.state.terminal and record.state is not MessageState.ACKNOWLEDGED:
                why = f": {record.error.message}" if record.error else ""
                raise WaitTimeout(f"message {message_id} is {record.state} and has no reply{why}", record=record)
        raise WaitTimeout(f"no reply to message {message_id} within {timeout_s:g} s", message_id=message_id)

    @staticmethod
    def _see_that_it_answers(asked: AgentMessage, answer: AgentMessage) -> None:
        """Both are signed; which is called the reply of which, stands in a record, is not."""
        if (answer.from_agent, answer.correlation_id) != (asked.to_agent, asked.message_id):
            raise BadSignature(f"message {answer.message_id} is no answer of {asked.to_agent!r} to {asked.message_id}")

    def _take(self, answer: MessageRecord, taker: str) -> None:
        delivery = self.inbox.claim([answer.box], receiver=taker, lease_ms=60_000, message_id=answer.message.message_id)
        if delivery is not None:
            self.inbox.finish(answer.message.message_id, "acknowledged", receiver=taker, box=answer.box)

    # --- inside ----------------------------------------------------------------------------------------------

    def post(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """Store drafts, all or none."""
        try:
            # Telling it again is safe: a message is stored once under its id. Waiting is not: nothing was accepted yet.
            for_s = self.settings.deadline_s
            posted = insist(lambda _: self.inbox.send(drafts), for_s=for_s, unsent=False) if drafts else []
        except UnknownAgent as error:
            raise self.unknown(error.agent) from None
        except Rerouted as error:
            return self.post([self._into_window(d, error.route) if d.box == error.agent else d for d in drafts])
        reach(CrashPoint.ACCEPTED)
        self.carry(posted)
        return [
            Receipt(
                draft.message if one.message_id == draft.message.message_id
                else replace(draft.message, message_id=one.message_id),
                one.message_id, "online" if one.online else "offline", one.state != MessageState.EXPIRED, self,
            )
            for draft, one in zip(drafts, posted, strict=True)
        ]  # fmt: skip

    def carry(self, posted: Sequence[Posted]) -> None:
        """Send the rings that the scripts could not send, and the copies of messages to agents that are moved over."""
        self.publish([one for one in posted if one.ring_to_send])
        for one in posted:
            if one.route and json.loads(one.route)["mode"] == "shadow":
                self._copy(self.inbox.read(one.message_id).message, one.route)

    def _copy(self, message: AgentMessage, route: str) -> None:
        metadata = {**message.metadata, "shadow_of": message.message_id}
        thread = f"{SHADOW}{message.to_agent}"
        copy = replace(message, message_id=new_id(), metadata=metadata, thread_id=thread, correlation_id=None)
        key = f"{SHADOW}{message.message_id}"
        draft = Draft(copy, encode_body(copy.body, self.settings), TMUX, idempotency_key=key)
        self.post([self._into_window(draft, route)])

    @staticmethod
    def _into_window(draft: Draft, route: str) -> Draft:
        """The draft as it goes to the agent that pastes it."""
        where = {name: value for name, value in json.loads(route).items() if name != "mode" and value}
        message = replace(draft.message, metadata={**draft.message.metadata, **where})
        return replace(draft, message=message, box=TMUX, routed=True)

    def address(self, draft: Draft) -> Draft:
        """Fill in the agent of a message that goes to a capability; without one online it is parked."""
        to = draft.message.to_agent
        agent = self._resolve(to)
        route = self.inbox.route(agent or to)
        if route and json.loads(route)["mode"] == "tmux":
            return self._into_window(draft, route)
        if agent is None:
            return replace(draft, open=True) if to.startswith(CAPABILITY) else draft
        return replace(draft, box=agent, message=replace(draft.message, to_agent=agent))

    def check_presence(self, agent: str, on_offline: str) -> None:
        """Raises AgentOffline where the sender does not want to wait."""
        if on_offline not in ("wait", "fail"):
            raise MessageInvalid(f"on_offline is {on_offline!r}; write wait or fail", field="on_offline")
        if on_offline == "fail" and agent not in self.directory.online():
            if agent not in self.directory.names() and not agent.startswith(CAPABILITY):
                raise self.unknown(agent)
            raise AgentOffline(f"nobody serves the agent {agent} now", agent=agent)

    def check_known(self, agent: str) -> None:
        """Raises UnknownAgent, with near names."""
        if agent not in self.directory.names():
            raise self.unknown(agent)

    def unknown(self, name: str) -> UnknownAgent:
        """The error for a name nobody has registered."""
        names = self.directory.names()
        near = did_you_mean(name, names) or f"; registered: {listed(names)}"
        return UnknownAgent(f"no agent {name!r}{near}", agent=name)

    def _resolve(self, to: str) -> str | None:
        return self.directory.least_loaded(to.removeprefix(CAPABILITY)) if to.startswith(CAPABILITY) else None

    def _task_of(self, agent: str, task: str | None) -> str:
        info = self.directory.info(agent)
        if info is None:
            raise self.unknown(agent)
        if task is None and len(info.tasks) == 1:
            return info.tasks[0].name
        if task is None:
            names = listed(known.name for known in info.tasks)
            raise UnknownTask(f"agent {agent!r} has {len(info.tasks)} tasks; name one: {names}")
        if info.tasks and not info.has_tasks_unknown and info.task(task) is None:
            near = did_you_mean(task, (known.name for known in info.tasks))
            near = near or f"; there is {listed(known.name for known in info.tasks)}"
            raise UnknownTask(f"agent {agent!r} has no task {task!r}{near}")
        return task

    def route(self, boxes: Iterable[str]) -> list[Posted]:
        """Give messages parked in these boxes to agents that have appeared; the rings still to be sent."""
        rings = []
        for parked in boxes:
            records = self.inbox.peek([parked])
            agent = self._resolve(parked) if records else None
            for record in records if agent else ():
                message = record.message
                ring = self.inbox.move(message.message_id, parked, str(agent), str(agent), message.priority)
                rings += [ring] if ring else []
        return rings


def here() -> dict[str, Json]:
    """The context of a handoff: where the sender stands."""
    context: dict[str, Json] = {"working_directory": os.getcwd(), "timestamp": rfc3339(round(time.time() * 1000))}
    try:
        told = subprocess.run(
            ["git", "branch", "--show-current"], capture_output=True, text=True, timeout=2, check=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        context["git_branch"] = told.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        context["git_branch"] = None  # no repository, or no git
    return context
