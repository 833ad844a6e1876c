"""What a step, a submission and a message cost the server: counted, not timed, so that a busy machine changes little.

The bounds are a fifth above what was counted on 2026-11-25. If one is passed, something was added to every step: find
it, or say in docs/decisions/0013-bursts.md why it is worth its price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass

import pytest

from orchestrator import Client
from orchestrator.identity import Key, write_key
from orchestrator.workflow.plan import Plan, PlanStep
from tests.acceptance.broker import ON_RABBITMQ
from tests.acceptance.team import Team, team

STEPS = 100
TRIES = 8  # what heartbeats and pauses add is least in the cheapest
ROUND_TRIPS = ("fcall", "blpop")
pytestmark = pytest.mark.skipif(ON_RABBITMQ, reason="with another broker a step has its price there")


@dataclass(frozen=True)
class Cost:
    """Of one step, run or message. `commands` are those of scripts, too."""

    round_trips: float
    commands: float
    sent_bytes: float


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("costs")) as made:
        # Celery sends its events in batches, now and then: a step would cost what falls into its time.
        (made.folder / "celeryconfig.py").write_text("worker_send_task_events = False\n")
        made.start_worker("hand", concurrency=1)
        made.start_worker("solo", concurrency=1)
        yield made


def chain(*agents: str, task: str = "echo", param: str = "value") -> Plan:
    """Steps of these agents in turn that answer 200 bytes."""
    names = [f"s{at}" for at in range(STEPS)]
    steps = [
        PlanStep(
            name, "task", agent=agents[at % len(agents)], task=task, params={param: "x" * 200},
            needs=tuple(names[max(at - 1, 0) : at]), next=tuple(names[at + 1 : at + 2]),
        )
        for at, name in enumerate(names)
    ]  # fmt: skip
    return Plan(name="chain", version="-".join((*agents, task)), steps=tuple(steps))


def cost_of(crew: Team, work: Callable[[], object], count: int) -> Cost:
    """Of one of `count` that `work` does."""

    def counted() -> Cost:
        stats, calls = crew.redis.info("stats"), crew.redis.info("commandstats")
        asked = sum(calls.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ROUND_TRIPS)
        return Cost(asked, stats["total_commands_processed"], stats["total_net_input_bytes"])

    work()
    found = []
    for _ in range(TRIES):
        before = counted()
        work()
        after = counted()
        found.append([(now - then) / count for now, then in zip(astuple(after), astuple(before), strict=True)])
    return Cost(*map(min, zip(*found, strict=True)))


def check(cost: Cost, **most: float) -> None:
    passed = {name: (getattr(cost, name), limit) for name, limit in most.items() if getattr(cost, name) > limit}
    assert not passed, f"{passed}: see the head of this file; all that was counted: {cost}"


def test_a_step_of_the_same_agent(crew: Team) -> None:
    plan = chain("hand")
    cost = cost_of(crew, lambda: crew.client.submit(plan).result(30), STEPS)
    check(cost, round_trips=1.25, commands=28, sent_bytes=1000)


def test_a_step_of_another_agent(crew: Team) -> None:
    plan = chain("hand", "solo")
    cost = cost_of(crew, lambda: crew.client.submit(plan).result(30), STEPS)
    check(cost, round_trips=3.7, commands=70, sent_bytes=1500)


def test_a_step_that_logs_is_one_round_trip_more(crew: Team) -> None:
    plan = chain("hand", task="speak_later", param="text")
    cost = cost_of(crew, lambda: crew.client.submit(plan).result(30), STEPS)
    check(cost, round_trips=2.45, commands=33, sent_bytes=1170)


def test_a_submission_is_one_round_trip(crew: Team) -> None:
    plan = Plan("one", "1", (PlanStep("a", "task", agent="many", task="echo"),))
    cost = cost_of(crew, lambda: [crew.client.submit(plan) for _ in range(STEPS)], STEPS)
    check(cost, round_trips=1.2, commands=31, sent_bytes=470)


def test_sending_a_message_is_one_round_trip(crew: Team) -> None:
    crew.client.office.directory.register("nobody")
    cost = cost_of(crew, lambda: [crew.client.send("nobody", "x" * 200) for _ in range(STEPS)], STEPS)
    check(cost, round_trips=1.2, commands=16, sent_bytes=1500)


def test_a_signature_costs_no_round_trip(crew: Team) -> None:
    write_key(crew.folder / "installation.key", Key.new())
    client = Client(crew.settings.model_copy(update={"key_file": crew.folder / "installation.key"}))
    client.office.directory.register("nobody")
    cost = cost_of(crew, lambda: [client.send("nobody", "x" * 200) for _ in range(STEPS)], STEPS)
    check(cost, round_trips=1.2, commands=17, sent_bytes=1600)

    def receive() -> None:
        inbox = client.office.inbox
        for _ in range(STEPS):
            taken = inbox.claim(["nobody"], receiver="r", lease_ms=60_000)
            assert taken is not None
            inbox.finish(taken.message.message_id, "acknowledged", receiver="r", box="nobody")

    cost = cost_of(crew, receive, STEPS)
    check(cost, round_trips=2.4, commands=33, sent_bytes=1450)
