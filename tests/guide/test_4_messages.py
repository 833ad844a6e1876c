"""Messages between agents: the async bus, and the synchronous services. The programs are those of the first guides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    AgentCommunicator,
    AgentMessage,
    AgentOffline,
    CoordinationService,
    InterAgentBus,
    MessageBus,
    MessagePriority,
    MessageQueueService,
    MessageType,
    UnknownAgent,
    WaitTimeout,
)
from orchestrator.settings import Settings
from orchestrator.store import embedded
from tests.acceptance.team import Team, team
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A state folder of its own."""
    home = tmp_path / ".orchestrator"
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home))
    with embedded.acquire(home):
        yield


# --- the migration guide --------------------------------------------------------------------------------------------


def test_a_message_is_sent_without_registration_once_the_recipient_is_known() -> None:
    async def send_to_agent(target_agent: str, message: str, from_agent: str) -> bool:
        async with MessageBus().lifespan() as bus:
            communicator = AgentCommunicator(from_agent, bus)
            await communicator.start()
            success = await communicator.send_message_to_agent(
                target_agent=target_agent,
                message=message,
                message_type=MessageType.INFORMATION_SHARE,
                priority=MessagePriority.MEDIUM,
            )
            await communicator.stop()
            return bool(success)

    async def program() -> None:
        async with AgentCommunicator("pm-agent").lifespan():
            pass
        assert await send_to_agent("pm-agent", "Sprint planning needed", "frontend-agent")
        with pytest.raises(UnknownAgent, match="did you mean pm-agent"):
            await send_to_agent("pm-agnt", "x", "frontend-agent")
        async with MessageBus().lifespan() as bus:
            assert await bus.get_agent_queue_size("pm-agent") == 1

    asyncio.run(program())


def test_an_agent_with_a_handler_receives_by_type_and_acknowledges() -> None:
    class Agent:
        def __init__(self, name: str) -> None:
            self.name = name
            self.heard: list[tuple[MessageType | str, str]] = []
            self.communicator = AgentCommunicator(name)
            self.communicator.set_message_handler(self.handle_message)

        async def start(self) -> None:
            await self.communicator.start()

        async def handle_message(self, message: AgentMessage) -> None:
            self.heard.append((message.message_type, message.body["content"]))

    async def program() -> None:
        agent = Agent("pm-agent")
        await agent.start()
        async with AgentCommunicator("frontend-agent").lifespan() as comm:
            receipt = await comm.send_message_to_agent(
                target_agent="pm-agent", message="PRODUCTION OUTAGE", priority=MessagePriority.EMERGENCY
            )
            await receipt.wait("acknowledged", timeout_s=5)
            status = await comm.bus.get_message_status(receipt.message_id)
            assert status.status == "acknowledged"
            assert await comm.bus.get_agent_queue_size("pm-agent") == 0
        await agent.communicator.stop()
        assert agent.heard == [(MessageType.INFORMATION_SHARE, "PRODUCTION OUTAGE")]

    asyncio.run(program())


def test_a_broadcast_reaches_each_agent_and_a_reply_is_correlated() -> None:
    async def program() -> None:
        async with MessageBus().lifespan() as bus:
            expert, comm_a = AgentCommunicator("expert-agent", bus), AgentCommunicator("frontend-agent", bus)
            await expert.start()
            await comm_a.start()
            results = await comm_a.broadcast_message(
                message="System maintenance in 10 minutes", agents=["expert-agent", "frontend-agent"],
                priority=MessagePriority.URGENT,
            )  # fmt: skip
            assert list(results) == ["expert-agent"]
            question = await comm_a.send_message_to_agent(
                target_agent="expert-agent", message="What's the best approach for X?",
                message_type=MessageType.QUESTION,
            )  # fmt: skip
            waiting = asyncio.create_task(question.reply(timeout_s=5))
            await expert.reply_to_message(original_message=question, reply_content="I recommend approach Y")
            answer = await waiting
            assert (answer.text, answer.correlation_id) == ("I recommend approach Y", question.message_id)
            assert answer.message_type is MessageType.ANSWER
            await expert.stop()
            await comm_a.stop()

    asyncio.run(program())


def test_a_handler_that_fails_does_not_end_the_receiver() -> None:
    async def program() -> None:
        heard = []

        async def handler(message: AgentMessage) -> None:
            heard.append(message.text)
            if message.text == "bad":
                raise ValueError("bad")

        async with MessageBus().lifespan() as bus:
            comm = AgentCommunicator("b", bus)
            comm.set_message_handler(handler)
            await comm.start()
            sender = AgentCommunicator("a", bus)
            await sender.send_message_to_agent("b", "bad")
            good = await sender.send_message_to_agent("b", "good")
            assert (await good.wait("acknowledged", timeout_s=5)).status == "acknowledged"
            await comm.stop()
        assert heard[:2] == ["bad", "good"]

    asyncio.run(program())


# --- the inter-agent bus --------------------------------------------------------------------------------------------


@pytest.fixture
def buses() -> Iterator[Any]:
    made: list[InterAgentBus] = []

    def bus(agent_id: str) -> InterAgentBus:
        made.append(InterAgentBus(agent_id))
        return made[-1]

    yield bus
    for one in made:
        one.cleanup()


def test_a_request_gets_the_response_of_the_handler(buses: Any) -> None:
    a, b = buses("a"), buses("b")
    b.register_handler("request", lambda message: {"sum": sum(message.body["numbers"])})
    assert a.request_and_wait("b", {"numbers": [1, 2]}, timeout_s=5) == {"sum": 3}


def test_a_response_sent_from_a_listener_is_correlated_by_itself(buses: Any) -> None:
    a, b = buses("a"), buses("b")
    b.on("request", lambda message: b.send_message(message.from_agent, "response", {"pong": message.body["ping"]}))
    assert a.request_and_wait("b", {"ping": 1}, timeout_s=5) == {"pong": 1}


def test_a_request_times_out_or_fails_at_once(buses: Any) -> None:
    a, _ = buses("a"), buses("b")
    with pytest.raises(WaitTimeout):
        a.request_and_wait("b", {"x": 1}, timeout_s=0.1)
    gone = buses("gone")
    gone.cleanup()
    with pytest.raises(AgentOffline):
        a.request_and_wait("gone", {"x": 1}, timeout_s=5, on_offline="fail")


def test_a_broadcast_is_heard_by_all_but_the_sender(buses: Any) -> None:
    heard: list[str] = []
    a, b, c = buses("a"), buses("b"), buses("c")
    for bus in (a, b, c):
        bus.on("broadcast", lambda message, me=bus.agent_id: heard.append(me))
    assert set(a.send_message("*", "broadcast", {"x": 1})) == {"b", "c"}
    wait_until(lambda: sorted(heard) == ["b", "c"], what="both", timeout_s=5)


def test_cleanup_leaves_no_thread(buses: Any) -> None:
    import threading

    before = threading.active_count()
    bus = InterAgentBus("short")
    bus.on("request", print)
    bus.cleanup()
    wait_until(lambda: threading.active_count() <= before, what="the end of its threads", timeout_s=5)


# --- queue and coordination, with a worker --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("services"), lease_s=3.0) as made:
        made.start_worker("ear", "echoer")
        yield made


@pytest.fixture
def settings(crew: Team) -> Settings:
    return crew.settings


def test_the_status_of_a_task_is_told_for_the_id_that_the_handoff_gave(settings: Settings) -> None:
    queue = MessageQueueService("pm", settings)
    task_id = queue.handoff_task("ear", {"type": "draft", "topic": "tea", "description": "short", "priority": 3})
    assert queue.wait_for_task(task_id, 10)["description"] == "short"
    status = queue.get_task_status(task_id)
    assert (status["status"], status["result"]["topic"]) == ("completed", "tea")
    queue.cleanup()


def test_tasks_are_announced_to_listeners(settings: Settings) -> None:
    bus = InterAgentBus("watcher", settings)
    told: list[str] = []
    bus.on("task_started", lambda message: told.append(message.body["task_id"]))
    bus.on("task_completed", lambda message: told.append(message.body["task_id"]))
    task_id = bus.handoff("ear", {"type": "draft", "topic": "tea"})
    wait_until(lambda: told == [task_id, task_id], what="both announcements", timeout_s=10)
    bus.cleanup()


def test_steps_are_orchestrated_each_seeing_the_results_before_it(settings: Settings) -> None:
    service = CoordinationService(settings)
    service.register_agent("ear", ["drafting"])
    result = service.orchestrate_workflow(
        {
            "steps": [
                {"id": 1, "agentId": "ear", "type": "draft", "topic": "a", "description": "first", "priority": 2},
                {"id": 2, "agentId": "ear", "type": "draft", "topic": "b", "description": "second", "priority": 5},
            ]
        }
    )
    assert result["step_1"]["context"] == []
    assert result["step_2"] == {"topic": "b", "description": "second", "context": ["step_1"]}
    with pytest.raises(UnknownAgent, match="did you mean ear"):
        service.orchestrate_workflow({"steps": [{"id": 1, "agentId": "eer", "type": "draft"}]})
    service.cleanup()
