"""A handler of a message that hangs fails after its time, in a process and, as far as it can be, in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import DeliveryOptions, MessageState
from tests.acceptance.team import Team, team
from tests.waiting import wait_until

QUICK = DeliveryOptions(max_retries=1, retry_delay_seconds=0.05)


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Team]:
    with team(tmp_path, lease_s=1.0, message_timeout_s=0.5) as made:
        yield made


def test_a_handler_that_hangs_fails_and_the_next_message_is_handled(crew: Team) -> None:
    crew.start_worker("echoer", concurrency=1)
    stuck = crew.client.send("echoer", f"hold {crew.new_file()}", delivery_options=QUICK)
    wait_until(lambda: stuck.status() is MessageState.DEAD, what="its end", timeout_s=15)
    errors = [attempt.error for attempt in stuck.record().attempts]
    assert [(error.type, error.message) for error in errors] == [
        ("HandlerTimeout", "the handler ran longer than 0.5 s")
    ] * 2
    assert crew.client.ask("echoer", "still there?", timeout_s=10) == "heard still there?"


def test_the_message_of_a_thread_that_hangs_goes_to_somebody_else(crew: Team) -> None:
    crew.start_worker("echoer", concurrency=2, pool="threads")
    gate = crew.new_file()
    stuck = crew.client.send("echoer", f"hold {gate}", delivery_options=QUICK)
    wait_until(lambda: len(stuck.record().attempts) == 2, what="another attempt", timeout_s=15)
    assert stuck.record().attempts[0].error.message.startswith("worker process died (no sign of life for 1 s)")
    gate.touch()
    wait_until(lambda: stuck.status() is MessageState.ACKNOWLEDGED, what="its end", timeout_s=15)
