"""Messages and handoffs with real workers: answers, retries, kills, priorities, messages that leave with a step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator import DeliveryOptions, HandoffState, MessageState, RunState, UnknownAgent, WaitTimeout
from orchestrator.errors import HandoffFailed, UnknownTask
from orchestrator.store import embedded
from orchestrator.store.keys import Keys
from orchestrator.testing import simulate
from tests.acceptance.agents import ear, echoer, hand
from tests.acceptance.team import ROOT, Team, names, output, team
from tests.waiting import wait_until

QUICK = DeliveryOptions(max_retries=2, retry_delay_seconds=0.05)


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("mail"), lease_s=1.0) as made:
        made.start_worker("ear", "echoer", "hand")
        yield made


def test_an_agent_answers_what_it_is_asked(crew: Team) -> None:
    assert crew.client.ask("ear", "why?", timeout_s=10) == {"question": "why?"}
    assert crew.client.ask("echoer", "hello", timeout_s=10) == "heard hello"


def test_a_handler_that_returns_nothing_sends_no_reply(crew: Team) -> None:
    with pytest.raises(WaitTimeout, match="no reply"):
        crew.client.ask("echoer", "silence", timeout_s=0.5)


def test_a_failing_handler_is_tried_again_and_then_dead_with_its_history(crew: Team) -> None:
    receipt = crew.client.send("ear", "fail always", delivery_options=QUICK)
    with pytest.raises(WaitTimeout, match="is dead"):
        receipt.wait("acknowledged", 10)
    record = receipt.record()
    assert [attempt.error.message for attempt in record.attempts] == ["always"] * 3
    assert record.message.message_id in [dead.message.message_id for dead in crew.client.office.inbox.dead_letters()]


def test_a_handler_that_recovers_is_acknowledged(crew: Team) -> None:
    record = crew.client.send("ear", "recover", delivery_options=QUICK).wait("acknowledged", 10)
    assert [attempt.error is None for attempt in record.attempts] == [False, True]


def test_fatal_ends_a_message_at_once(crew: Team) -> None:
    receipt = crew.client.send("ear", "fatal no", delivery_options=QUICK)
    wait_until(lambda: receipt.status() is MessageState.FAILED, what="the end", timeout_s=10)
    assert len(receipt.record().attempts) == 1


def test_an_emergency_is_next_when_the_only_slot_gets_free(crew: Team) -> None:
    door = crew.new_file()
    crew.client.send("ear", f"hold {door}")
    wait_until(lambda: crew.heard(f"hold {door}"), what="the holder", timeout_s=10)
    low = [crew.client.send("ear", f"low {n}", priority="low") for n in range(5)]
    urgent = crew.client.send("ear", "urgent now", priority="emergency")
    door.touch()
    for receipt in (*low, urgent):
        receipt.wait("acknowledged", 20)
    begun = [note["text"] for note in crew.heard("urgent now", *(receipt.message.text for receipt in low))]
    assert begun == ["urgent now", *(f"low {n}" for n in range(5))]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_message_is_handled_again_when_its_process_is_told_to_end(crew: Team, number: signal.Signals) -> None:
    door = crew.new_file()
    receipt = crew.client.send("ear", f"hold {door}")
    first = wait_until(lambda: crew.heard(f"hold {door}"), what="the handler", timeout_s=10)[0]
    os.kill(first["pid"], number)
    wait_until(lambda: len(crew.heard(f"hold {door}")) == 2, what="the second attempt", timeout_s=15)
    door.touch()
    record = receipt.wait("acknowledged", 10)
    assert record.attempts[0].error.type == "WorkerLost"
    assert len(record.attempts) == 2


def test_messages_to_an_offline_agent_wait_for_its_worker(tmp_path: object, crew: Team) -> None:
    crew.client.office.directory.register("many")
    receipt = crew.client.send("many", "wait")
    assert receipt.recipient_state == "offline"
    assert receipt.status() is MessageState.PENDING


def test_what_waited_is_handled_although_the_first_worker_died_before_it_called(tmp_path: Path) -> None:
    with team(tmp_path) as crew:
        directory = crew.client.office.directory
        directory.register("echoer")
        priorities = ("low", "urgent")
        receipts = [crew.client.send("echoer", f"no {n}", priority=priorities[n % 2]) for n in range(250)]
        directory.heartbeat("gone@host", [echoer.info])  # as far as a worker came that was killed then
        crew.start_worker("echoer")
        for receipt in receipts:
            receipt.wait("acknowledged", 20)
        assert crew.redis.zcard(Keys().rings) == 0


def test_a_message_from_a_step_leaves_with_its_result_and_once(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: tell, with: {to: echoer, text: "silence from a step", fail: true},
             retry: {max_attempts: 2, delay: 50ms}}
        """
    )
    record = crew.client.message(output(run, "a"))
    assert record.message.from_agent == "hand"
    wait_until(lambda: len(crew.heard("silence from a step")) == 1, what="the message", timeout_s=10)


def test_a_step_may_ask_another_agent(crew: Team) -> None:
    run = crew.run("steps: [{id: a, agent: hand, task: question, with: {to: ear, text: who}}]")
    assert run.status() is RunState.SUCCEEDED
    assert output(run, "a") == {"question": "who"}


def test_a_step_that_writes_to_nobody_fails_with_near_names(crew: Team) -> None:
    run = crew.run("steps: [{id: a, agent: hand, task: tell, with: {to: echor, text: x}}]")
    assert "did you mean echoer" in run.record().error.message


def test_a_message_from_a_handler_leaves_with_its_acknowledgement(crew: Team) -> None:
    first = crew.client.send("ear", "tell echoer")
    wait_until(lambda: crew.heard(f"told by {first.message_id}"), what="what it told", timeout_s=10)


def test_a_handoff_is_worked_once_and_its_result_is_kept(crew: Team) -> None:
    receipt = crew.client.handoff("ear", "draft", {"topic": "tea", "nobody": 1}, context={"note": 1}, sender="hand")
    assert crew.client.office.result_of_task(receipt.message_id, 10) == {
        "topic": "tea", "description": "", "context": ["git_branch", "note", "timestamp", "working_directory"],
    }  # fmt: skip
    record = receipt.record()
    assert record.handoff is HandoffState.COMPLETED
    assert [link.state for link in record.custody] == ["offered", "accepted", "in_progress", "completed"]
    assert len(record.attempts) == 1


def test_a_handoff_that_fails_says_why(crew: Team) -> None:
    receipt = crew.client.handoff("ear", "draft", {"subject": "tea"})
    with pytest.raises(HandoffFailed, match="failed: topic: field required"):
        crew.client.office.result_of_task(receipt.message_id, 10)


def test_a_handoff_to_nobody_or_of_no_task_is_refused(crew: Team) -> None:
    with pytest.raises(UnknownAgent, match="did you mean ear"):
        crew.client.handoff("eer", "draft")
    with pytest.raises(UnknownTask, match="did you mean draft"):
        crew.client.handoff("ear", "drafft")


def test_every_message_is_handled_although_workers_are_killed(crew: Team) -> None:
    receipts = [crew.client.send("echoer", f"silence {n}", priority=("low", "high")[n % 2]) for n in range(200)]
    for _ in range(3):
        crew.kill_worker(crew.start_worker("echoer"))
    for receipt in receipts:
        assert receipt.wait("acknowledged", 30)


def test_a_step_moves_to_another_agent_and_the_run_shows_both(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: pass_on, with: {text: tea, to: ear}}
          - {id: b, agent: hand, task: echo, with: {value: "${{ steps.a.output.text }}"}}
        """
    )
    assert run.status() is RunState.SUCCEEDED
    assert output(run, "a") == {"text": "tea", "context": {"note": "from hand"}, "attempt": 2}
    step = run.document()["steps"]["a"]
    assert (step["agent"], step["hands"], step["attempts"]) == ("ear", ["hand", "ear"], 2)
    assert names(run, "a") == ["step.started", "step.handed_off", "step.started", "step.succeeded"]
    simulated = simulate(crew.write("steps: [{id: a, agent: hand, task: pass_on, with: {text: tea, to: ear}}]"),
                         agents=[hand, ear])  # fmt: skip
    assert simulated.steps["a"].output == output(run, "a")


def test_a_step_handed_to_nobody_fails_with_near_names(crew: Team) -> None:
    run = crew.run("steps: [{id: a, agent: hand, task: pass_on, with: {text: tea, to: eer}}]")
    assert "did you mean ear" in run.record().error.message


def test_a_step_goes_to_the_least_loaded_agent_with_its_capability(crew: Team) -> None:
    door = crew.new_file()
    holding = crew.client.send("ear", f"hold {door}")
    holding.wait("delivered", 10)
    waiting = [crew.client.send("ear", "silence") for _ in range(3)]
    run = crew.run("steps: [{id: a, capability: hearing, task: share}]")
    assert run.document()["steps"]["a"]["agent"] == "echoer"
    door.touch()
    for receipt in (holding, *waiting):
        receipt.wait("acknowledged", 10)


def test_a_step_waits_until_an_agent_with_its_capability_is_there(tmp_path: Path) -> None:
    with team(tmp_path, lease_s=1.0) as alone:
        alone.start_worker("hand")
        run = alone.submit("steps: [{id: a, capability: hearing, task: share}]")
        wait_until(
            lambda: run.document()["steps"]["a"].get("reason") == "no agent with capability hearing is online",
            what="the reason", timeout_s=10,
        )  # fmt: skip
        alone.start_worker("echoer")
        assert run.wait(15).state is RunState.SUCCEEDED
        assert run.document()["steps"]["a"]["agent"] == "echoer"


def test_a_retry_does_not_hold_up_the_messages_behind_it(crew: Team) -> None:
    slow = DeliveryOptions(max_retries=1, retry_delay_seconds=30)
    failing = crew.client.send("ear", "fail slowly", delivery_options=slow)
    behind = crew.client.send("ear", "silence behind")
    behind.wait("acknowledged", 10)
    assert failing.status() is MessageState.PENDING


def test_another_process_reads_the_same_state(crew: Team) -> None:
    receipt = crew.client.send("ear", "silence")
    receipt.wait("acknowledged", 10)
    told = subprocess.run(
        [sys.executable, "-m", "orchestrator", "message", receipt.message_id, "--json"],
        env={**os.environ, "ORCHESTRATOR_HOME": str(crew.home)}, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(told.stdout)["status"] == "acknowledged"


def test_neither_logs_nor_the_journal_show_what_was_said(crew: Team) -> None:
    word = "canary-5f1d"
    crew.client.ask("echoer", word, timeout_s=10)
    receipt = crew.client.handoff("ear", "draft", {"topic": word}, context={"note": word})
    crew.client.office.result_of_task(receipt.message_id, 10)
    assert word not in crew.log
    assert word not in json.dumps(crew.redis.xrange("o:journal"))


def test_an_answer_that_does_not_come_leaves_nothing_behind(crew: Team) -> None:
    before, asked = len(crew.redis.client_list()), 12
    for _ in range(asked):
        with pytest.raises(WaitTimeout):
            crew.client.ask("echoer", "silence", timeout_s=0.1)
    # Not one for each question; processes of the workers may have come to need one of their own.
    assert len(crew.redis.client_list()) <= before + asked / 2
    assert all(crew.redis.ttl(key) != -1 for key in crew.redis.scan_iter("o:bell:*"))


def test_a_storm_of_requests_gets_each_its_own_answer(crew: Team) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda n: crew.client.ask("echoer", f"n{n}", timeout_s=30), range(100)))
    assert answers == [f"heard n{n}" for n in range(100)]


def test_messages_ring_through_a_broker_on_another_server(tmp_path: Path) -> None:
    with embedded.acquire(tmp_path / "broker") as broker, team(tmp_path, broker_url=broker.url) as apart:
        apart.start_worker("ear", "echoer")
        assert apart.client.ask("echoer", "hello", timeout_s=10) == "heard hello"
        first = apart.client.send("ear", "tell echoer")
        wait_until(lambda: apart.heard(f"told by {first.message_id}"), what="what it told", timeout_s=10)
        apart.client.send("ear", "silence", delay_s=0.2).wait("acknowledged", 10)
        wait_until(lambda: not apart.redis.zcard("o:rings"), what="every ring to be used", timeout_s=5)
        assert "seems lost" not in apart.log
