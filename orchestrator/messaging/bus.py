"""The async face: `MessageBus` and `AgentCommunicator`. Every call runs the one synchronous core in a thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from orchestrator.agents.post import Broadcast, PostOffice, Receipt
from orchestrator.agents.receiver import Receiver
from orchestrator.client import Client
from orchestrator.errors import OrchestratorError
from orchestrator.messages import AgentMessage, MessagePriority, MessageType
from orchestrator.messaging.listeners import Listener, Listeners
from orchestrator.records import Delivery, Draft, MessageRecord
from orchestrator.settings import Settings
from orchestrator.states import MessageState
from orchestrator.store.connection import guard
from orchestrator.store.directory import boxes_of

Json = Any
T = TypeVar("T")
_THREADS = 64  # calls that may wait on the server at the same time


class MessageBus:
    """The messages of one installation, for async programs.

    Args:
        settings: default: the environment, `celeryconfig.py`, or the embedded server.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._client: Client | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._listeners: Listeners | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Self]:
        """Connected for the time of an `async with`. Raises StoreUnavailable."""
        await self.connect()
        try:
            yield self
        finally:
            await self.close()

    async def connect(self) -> None:
        """Connect; nothing happens if it is connected already."""
        if self._client is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="bus")
            loop = asyncio.get_running_loop()
            self._client = await loop.run_in_executor(self._threads, lambda: Client(self._settings))

    async def close(self) -> None:
        """Give everything back."""
        client, threads, listeners = self._client, self._threads, self._listeners
        self._client = self._threads = self._listeners = None
        if listeners is not None:
            await asyncio.to_thread(listeners.close)
        if client is not None:
            await asyncio.to_thread(client.close)
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def get_message_status(self, message_id: str) -> MessageRecord:
        """The message's record; `.status` is where it is. Raises MessageNotFound."""
        return await self.call(self.office.inbox.read, message_id)

    async def get_agent_queue_size(self, agent: str) -> int:
        """How many messages of an agent nobody has taken yet."""
        return await self.call(self.office.inbox.size, agent)

    def on(self, word: MessageType | str, listener: Listener) -> None:
        """Call a function with every announcement of this type: agent_started, agent_stopped, task_started, ..."""
        if self._listeners is None:
            self._listeners = Listeners(self.office)
        self._listeners.on(word, listener)

    @property
    def office(self) -> PostOffice:
        """The core. Raises OrchestratorError before the bus is connected."""
        if self._client is None:
            raise OrchestratorError("The bus is not connected; use `async with MessageBus().lifespan() as bus`")
        return self._client.office

    async def call(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function of the core in a thread."""
        url = self.office and self._client and self._client.url

        def guarded() -> T:
            with guard(str(url)):
                return fn(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._threads, guarded)


class AsyncReceipt:
    """A receipt that can be awaited; true when the message is stored durably."""

    def __init__(self, bus: MessageBus, receipt: Receipt, *, take: bool) -> None:
        self._bus = bus
        self._receipt = receipt
        self._take = take
        self.message_id = receipt.message_id
        self.recipient_state = receipt.recipient_state
        self.message = receipt.message

    def __bool__(self) -> bool:
        return bool(self._receipt)

    async def status(self) -> MessageState:
        """Where the message is now."""
        return await self._bus.call(self._receipt.status)

    async def wait(
        self, status: MessageState | str = MessageState.ACKNOWLEDGED, timeout_s: float | None = None
    ) -> MessageRecord:
        """See `Receipt.wait`."""
        return await self._bus.call(self._receipt.wait, status, timeout_s)

    async def reply(self, timeout_s: float | None = None) -> AgentMessage:
        """See `Receipt.reply`."""
        return await self._bus.call(self._receipt.reply, timeout_s, take=self._take)


class AgentCommunicator:
    """One agent on a bus: sends, and receives once it has a handler and is started.

    Args:
        bus: default: one of its own, which `start` connects.
    """

    def __init__(self, name: str, bus: MessageBus | None = None) -> None:
        self.name = name
        self.bus = bus or MessageBus()
        self._owns_bus = bus is None
        self._handler: Callable[..., Any] | None = None
        self._receiver: Receiver | None = None

    def set_message_handler(self, handler: Callable[[AgentMessage], Any]) -> None:
        """The function, sync or async, that gets every message; what it returns is the reply."""
        self._handler = handler

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Self]:
        """Started for the time of an `async with`."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def start(self) -> None:
        """Register and announce the agent, and receive if there is a handler.

        Raises:
            StoreUnavailable. NotYourMessage: the key of this process is of another agent.
        """
        await self.bus.connect()
        if self._receiver is not None:
            return
        office = self.bus.office
        receiver = Receiver(office, self.name, boxes_of(self.name)[:1], announce=True)
        await self.bus.call(office.register, self.name)
        if self._handler is None:
            await self.bus.call(receiver.open)
        else:
            await self.bus.call(receiver.run, partial(self._hear, asyncio.get_running_loop()))
        self._receiver = receiver

    async def stop(self) -> None:
        """Say goodbye, give back what is not handled, and end every thread."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            await self.bus.call(receiver.close)
        if self._owns_bus:
            await self.bus.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def send_message_to_agent(
        self,
        target_agent: str,
        message: Json,
        message_type: MessageType | str = MessageType.INFORMATION_SHARE,
        priority: MessagePriority | str = MessagePriority.MEDIUM,
        **options: Any,
    ) -> AsyncReceipt:
        """Send a text, or any JSON value; see `Client.send`."""
        receipt = await self._call(
            "send", target_agent, message, sender=self.name, message_type=message_type, priority=priority, **options
        )
        return self._receipt(receipt)

    async def ask(self, target_agent: str, message: Json, *, timeout_s: float = 30.0, **options: Any) -> AgentMessage:
        """Send a question and wait for the reply. Raises WaitTimeout; AgentOffline with `on_offline="fail"`."""
        found: AgentMessage = await self._call(
            "ask", target_agent, message, sender=self.name, timeout_s=timeout_s, **options
        )
        return found

    async def broadcast_message(
        self,
        message: Json,
        agents: Sequence[str] | None = None,
        priority: MessagePriority | str = MessagePriority.MEDIUM,
        **options: Any,
    ) -> dict[str, AsyncReceipt]:
        """Send to these agents, or to all that are registered, never to itself. Returns agent -> receipt."""
        receipts: Broadcast = await self._call(
            "broadcast", message, sender=self.name, to=agents, priority=priority, **options
        )
        return {name: self._receipt(receipt) for name, receipt in receipts.items()}

    async def reply_to_message(
        self, original_message: AgentMessage | AsyncReceipt | str, reply_content: Json, **options: Any
    ) -> AsyncReceipt:
        """Answer a message, given itself, its receipt or its id."""
        message_id = original_message if isinstance(original_message, str) else original_message.message_id
        return self._receipt(await self._call("reply", message_id, reply_content, sender=self.name, **options))

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        await self.bus.connect()
        return await self.bus.call(getattr(self.bus.office, name), *args, **kwargs)

    def _receipt(self, receipt: Receipt) -> AsyncReceipt:
        # With a handler of its own the agent receives its replies there; nobody else must take them away.
        return AsyncReceipt(self.bus, receipt, take=self._receiver is None or self._handler is None)

    def _hear(self, loop: asyncio.AbstractEventLoop, delivery: Delivery, drafts: list[Draft]) -> Json:
        """Runs in the receiver's thread; an async handler runs on the program's own loop."""
        assert self._handler is not None
        if not inspect.iscoroutinefunction(self._handler):
            answer = self._handler(delivery.message)
            if not inspect.isawaitable(answer):
                return answer
        else:
            answer = self._handler(delivery.message)

        async def finish() -> Json:
            return await answer

        return asyncio.run_coroutine_threadsafe(finish(), loop).result()
