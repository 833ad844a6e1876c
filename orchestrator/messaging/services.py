"""The synchronous faces: `InterAgentBus`, `MessageQueueService`, `CoordinationService`, and `coordination`, ready made.

Each is a few calls of the one core. What they are given in the words of the predecessors is translated here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from orchestrator.agents.post import Broadcast, Receipt
from orchestrator.agents.receiver import Receiver
from orchestrator.client import Client
from orchestrator.documents import task_document
from orchestrator.errors import MessageInvalid, UnknownAgent
from orchestrator.messages import AgentMessage, MessagePriority, MessageType, content_of
from orchestrator.messaging.listeners import EVERYTHING, Listener, Listeners
from orchestrator.records import Delivery, Draft
from orchestrator.settings import Settings
from orchestrator.store.connection import guard
from orchestrator.store.directory import boxes_of

Json = Any
_handling: ContextVar[AgentMessage | None] = ContextVar("handling", default=None)
_TASK_S = 60.0  # how long `orchestrate_workflow` waits for one step unless it says otherwise


class InterAgentBus:
    """One agent's place on the bus. It receives as soon as it has a handler or a listener for messages.

    Args:
        settings: default: the environment, `celeryconfig.py`, or the embedded server.
    Raises:
        StoreUnavailable: the server does not answer. NotYourMessage: the key of this process is of another agent.
    """

    def __init__(self, agent_id: str, settings: Settings | None = None, *, capabilities: Iterable[str] = ()) -> None:
        self.agent_id = agent_id
        self.client = Client(settings)
        self.office = self.client.office
        self._handlers: dict[str, Callable[[AgentMessage], Json]] = {}
        self._listeners = Listeners(self.office)
        self._lock = threading.Lock()
        self._receiving = False
        with guard(self.client.url):
            self._receiver = Receiver(self.office, agent_id, boxes_of(agent_id), announce=True)
            self.office.register(agent_id, capabilities)
            self._receiver.open()

    # --- send ------------------------------------------------------------------------------------------------

    def send_message(self, to: str, type: MessageType | str, payload: Json, **options: Any) -> str | dict[str, str]:
        """Send a payload; `to="*"` broadcasts. Returns the message's id, of a broadcast agent -> id.

        A response that is sent while a request of its recipient is handled answers that request.
        """
        if to == "*":
            return {name: receipt.message_id for name, receipt in self.broadcast(payload, **options).items()}
        request = _handling.get()
        if str(type).lower() == MessageType.RESPONSE and request is not None and request.from_agent == to:
            return self.reply(request, payload, **options).message_id
        with guard(self.client.url):
            return self.office.send(to, payload, sender=self.agent_id, message_type=type, **options).message_id

    def request_and_wait(self, to: str, payload: Json, timeout_s: float = 30.0, **options: Any) -> Json:
        """Send a request and return the response's payload.

        Raises:
            WaitTimeout: none within `timeout_s`. AgentOffline: with `on_offline="fail"`, where nobody serves the agent.
        """
        with guard(self.client.url):
            answer = self.office.ask(
                to, payload, sender=self.agent_id, timeout_s=timeout_s, message_type=MessageType.REQUEST, **options
            )
        return content_of(answer.body)

    def broadcast(self, payload: Json, **options: Any) -> Broadcast:
        """Send a payload to every registered agent but this one. Returns agent -> receipt."""
        with guard(self.client.url):
            return self.office.broadcast(payload, sender=self.agent_id, **options)

    def reply(self, message: AgentMessage | Receipt | str, payload: Json, **options: Any) -> Receipt:
        """Answer a message."""
        with guard(self.client.url):
            return self.office.reply(message, payload, sender=self.agent_id, **options)

    def handoff(self, to: str, task: Mapping[str, Json]) -> str:
        """Offer a task to an agent; the task's id. See `MessageQueueService.handoff_task`."""
        return _offer(self.client, self.agent_id, to, task)

    # --- receive ---------------------------------------------------------------------------------------------

    def register_handler(self, type: MessageType | str, fn: Callable[[AgentMessage], Json]) -> None:
        """Have a function handle messages of a type; what it returns is the response, or a handoff's result."""
        self._handlers[str(type).lower()] = fn
        self._receive()

    def on(self, type: MessageType | str, fn: Listener) -> None:
        """Add a listener: for messages of a type, or for announcements (agent_started, task_completed, ...)."""
        self._listeners.on(type, fn)
        word = str(type).lower()
        if word == EVERYTHING or (word in set(MessageType) and word not in _ANNOUNCEMENTS):
            self._receive()

    def off(self, type: MessageType | str, fn: Listener) -> None:
        """Remove a listener."""
        self._listeners.off(type, fn)

    def cleanup(self) -> None:
        """Say goodbye, give back what is not handled, and end every thread."""
        self._listeners.close()
        self._receiver.close()
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cleanup()

    def _receive(self) -> None:
        with self._lock:
            if not self._receiving:
                self._receiving = True
                self._receiver.take_with(self._hear)

    def _hear(self, delivery: Delivery, drafts: list[Draft]) -> Json:
        message = delivery.message
        word = str(message.message_type)
        token = _handling.set(message)
        try:
            self._listeners.tell(message, word)
            handler = self._handlers.get(word)
            return handler(message) if handler else None
        finally:
            _handling.reset(token)


_ANNOUNCEMENTS = (
    MessageType.AGENT_STARTED, MessageType.AGENT_STOPPED, MessageType.TASK_UPDATE, MessageType.TASK_COMPLETION,
)  # fmt: skip


class MessageQueueService:
    """Hand tasks to agents and follow them."""

    def __init__(self, agent_id: str, settings: Settings | None = None) -> None:
        self.agent_id = agent_id
        self.client = Client(settings)

    def handoff_task(self, to_agent: str, task: Mapping[str, Json]) -> str:
        """Offer a task to an agent.

        Args:
            task: `type` names the agent's task, `priority` is a word or a number from 1 (low) to 5 (emergency),
                `context` goes along; it and all other fields reach the parameters of the same name, and no others.
        Returns:
            The task's id. Raises UnknownAgent, UnknownTask, MessageInvalid.
        """
        return _offer(self.client, self.agent_id, to_agent, task)

    def get_task_status(self, task_id: str) -> dict[str, Json]:
        """`{task_id, status, result, owner, custody, ...}` of a task's id. Raises MessageNotFound."""
        return task_document(self.client.message(task_id))

    def wait_for_task(self, task_id: str, timeout_s: float | None = None) -> Json:
        """The task's result. Raises HandoffFailed, WaitTimeout."""
        with guard(self.client.url):
            return self.client.office.result_of_task(task_id, timeout_s)

    def cleanup(self) -> None:
        """Give the connections back."""
        self.client.close()


class CoordinationService:
    """Agents that work through a list of steps, each seeing what came before.

    Args:
        agent_id: under whose name the steps are handed out.
    """

    def __init__(self, settings: Settings | None = None, *, agent_id: str = "coordinator") -> None:
        self.agent_id = agent_id
        self._settings = settings
        self._client: Client | None = None
        self._members: dict[str, dict[str, Any]] = {}

    @property
    def client(self) -> Client:
        """Connected when it is first used, so that the ready-made service costs nothing at import."""
        if self._client is None:
            self._client = Client(self._settings)
        return self._client

    def register_agent(self, agent_id: str, capabilities: Iterable[str] = ()) -> dict[str, Any]:
        """Make an agent known and announce it. Returns `{"bus": InterAgentBus, "queue": MessageQueueService}`."""
        if agent_id not in self._members:
            bus = InterAgentBus(agent_id, self._settings, capabilities=capabilities)
            self._members[agent_id] = {"bus": bus, "queue": MessageQueueService(agent_id, self._settings)}
        return self._members[agent_id]

    def orchestrate_workflow(self, workflow: Mapping[str, Json], timeout_s: float = _TASK_S) -> dict[str, Json]:
        """Run steps one after the other.

        Args:
            workflow: `{"steps": [{"id", "agentId", "type", "description", "priority", ...}]}`.
            timeout_s: for each step.
        Returns:
            `step_ID` -> result. Each step's `context` is this, as far as it has come.
        Raises:
            MessageInvalid: a step without `id` or `agentId`. UnknownAgent: an agent is not registered; nothing ran.
            HandoffFailed, WaitTimeout: of the first step that does not succeed.
        """
        steps = workflow.get("steps") if isinstance(workflow, Mapping) else None
        if not isinstance(steps, list):
            raise MessageInvalid("workflow: write {'steps': [...]}", field="steps")
        for place, step in enumerate(steps):
            for name in ("id", "agentId"):
                if not isinstance(step, Mapping) or not step.get(name):
                    raise MessageInvalid(f"steps.{place}: {name} is missing", field=f"steps.{place}.{name}")
        with guard(self.client.url):
            known = set(self.client.office.directory.names())
            missing = [step["agentId"] for step in steps if step["agentId"] not in known]
            if missing:
                raise UnknownAgent(f"{self.client.office.unknown(missing[0]).message} (of {len(missing)} unknown)")
        context: dict[str, Json] = {}
        for step in steps:
            task = {name: value for name, value in step.items() if name not in ("id", "agentId")}
            task_id = _offer(self.client, self.agent_id, step["agentId"], {**task, "context": context})
            with guard(self.client.url):
                result = self.client.office.result_of_task(task_id, timeout_s)
            context = {**context, f"step_{step['id']}": result}
        return context

    def cleanup(self) -> None:
        """Say goodbye for every agent that was registered here."""
        for member in self._members.values():
            member["bus"].cleanup()
            member["queue"].cleanup()
        self._members.clear()
        if self._client is not None:
            self._client.close()
            self._client = None


def _offer(client: Client, sender: str, to: str, task: Mapping[str, Json]) -> str:
    offer = dict(task)
    name, key = offer.pop("type", None), offer.pop("id", None)
    priority = offer.pop("priority", None)
    context = offer.pop("context", None)
    values = offer if context is None else {**offer, "context": context}
    with guard(client.url):
        return client.office.handoff(
            to, name, values, sender=sender, context=context if isinstance(context, Mapping) else {},
            priority=MessagePriority.MEDIUM if priority is None else priority, idempotency_key=key,
        ).message_id  # fmt: skip


coordination = CoordinationService()
