"""Hostile values and messages: refused where they come in, carried as plain data, or put into quarantine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Agent, RunState
from orchestrator.errors import HandlerOutputInvalid, LimitExceeded, MessageInvalid, WorkflowInvalid
from orchestrator.store.routing import queue_of
from orchestrator.testing import simulate
from tests.acceptance.team import Team, team
from tests.hostile.cases import Case
from tests.waiting import wait_until

FLOW = """
inputs: {v: {}}
steps: [{id: e, agent: hand, task: echo, with: {value: '${{ inputs.v }}'}}]
outputs: {v: '${{ steps.e.output }}'}
"""


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One worker of `hand` and one of `ear`."""
    with team(tmp_path_factory.mktemp("payloads")) as made:
        made.start_worker("hand", "ear")
        yield made


def refused_at_every_entrance(crew: Team, value: Any, words: str) -> None:
    """As a message, its metadata, the values of a handoff, an input, a signal; nothing is stored."""
    before = stored(crew)
    for send in (
        lambda: crew.client.send("ear", value),
        lambda: crew.client.send("ear", "x", metadata={"v": value}),
        lambda: crew.client.handoff("ear", "finish", {"text": value}),
    ):
        with pytest.raises(MessageInvalid, match=words):
            send()
    with pytest.raises((WorkflowInvalid, LimitExceeded, HandlerOutputInvalid)) as caught:
        crew.submit(FLOW, {"v": value})
    assert caught.value.message.count("\n") == 0
    assert stored(crew) == before


def stored(crew: Team) -> set[str]:
    """The keys of all messages and runs."""
    return {*crew.redis.scan_iter("o:msg:*"), *crew.redis.scan_iter("o:run:*")}


def refused_as_output(folder: Path, value: Any, words: str) -> None:
    """As what a task returns: the step fails with a reason, whatever its type says."""
    maker = Agent("maker")

    @maker.task
    def make() -> Any:
        return value

    (folder / "flow.yaml").write_text("name: flow\nsteps: [{id: m, agent: maker, task: make}]\n")
    run = simulate(folder / "flow.yaml", agents=[maker])
    assert run.status is RunState.FAILED
    assert words in run.steps["m"].error.message


@pytest.mark.hostile("S-01")
def test_a_value_has_a_size(case: Case, crew: Team, tmp_path: Path) -> None:
    for value in case.variants:
        refused_at_every_entrance(crew, value, r"the limit is (1,048,576|65,536)")
        refused_as_output(tmp_path, value, "is 10,485,768 bytes as JSON; the limit is 8,388,608")


@pytest.mark.hostile("S-02")
def test_what_steps_leave_behind_travels_by_reference(crew: Team) -> None:
    kib = 1024
    steps = "".join(f"  - {{id: s{at}, agent: hand, task: large, with: {{size: {200 * kib}}}}}\n" for at in range(50))
    read = ", ".join(f"${{{{ steps.s{at}.output }}}}" for at in range(50))
    run = crew.run(f"steps:\n{steps}  - {{id: all, set: {{text: '{read}'}}}}\n", timeout_s=60)
    document = run.document()
    assert document["status"] == "failed"
    assert "the output is 10,240," in document["steps"]["all"]["error"]["message"]
    assert {step["status"] for name, step in document["steps"].items() if name != "all"} == {"succeeded"}


@pytest.mark.hostile("S-03")
def test_a_number_is_a_number(case: Case, crew: Team, tmp_path: Path) -> None:
    for value in case.variants:
        refused_at_every_entrance(crew, value, "NaN or an infinity")
        refused_as_output(tmp_path, value, "NaN or an infinity")


@pytest.mark.hostile("S-05")
def test_keys_are_text(case: Case, crew: Team, tmp_path: Path) -> None:
    variants = [dict([pair]) for value in case.variants for pair in value.items()]
    assert len(variants) == 3  # 1 and True are one key
    for value in (*variants, {"deep": [{1.5: "x"}]}):
        refused_at_every_entrance(crew, value, "has the key .*, and keys are text")
        refused_as_output(tmp_path, value, "and keys are text")


def _arrives(crew: Team, value: Any) -> None:
    """A message with it is acknowledged, and a step gets and gives it as it is."""
    receipt = crew.client.send("ear", value)
    receipt.wait("acknowledged", timeout_s=20)
    assert crew.client.message(receipt.message_id).message.body == value
    run = crew.run(FLOW, {"v": value})
    assert run.document()["outputs"] == {"v": value}


@pytest.mark.hostile("S-06")
def test_what_looks_like_a_type_of_kombu_is_data(case: Case, crew: Team) -> None:
    for value in case.variants:
        _arrives(crew, value)


@pytest.mark.hostile("S-07")
def test_what_looks_like_a_date_of_kombu_is_data(case: Case, crew: Team) -> None:
    for value in case.variants:
        _arrives(crew, value)


@pytest.mark.hostile("S-09")
def test_nothing_contains_itself(case: Case, crew: Team, tmp_path: Path) -> None:
    for value in case.variants:
        refused_at_every_entrance(crew, value, "is not JSON: Circular reference")
        refused_as_output(tmp_path, value, "is not JSON: Circular reference")


@pytest.mark.parametrize("depth", [202, 900, 100_000])
def test_a_value_is_nested_so_deep_and_no_deeper(crew: Team, tmp_path: Path, depth: int) -> None:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    refused_at_every_entrance(crew, value, "is nested deeper than 200")
    refused_as_output(tmp_path, value, "is nested deeper than 200")


def test_the_deepest_value_that_is_taken_arrives(crew: Team) -> None:
    value: Any = 1
    for _ in range(190):
        value = [value]
    _arrives(crew, {"deep": value})


@pytest.mark.hostile("S-12")
def test_half_a_letter_is_no_text(case: Case, crew: Team, tmp_path: Path) -> None:
    for value in case.variants:
        refused_at_every_entrance(crew, value, "half of a surrogate pair")
        refused_as_output(tmp_path, value, "half of a surrogate pair")


@pytest.mark.hostile("S-14")
def test_a_stored_failure_is_data(case: Case, crew: Team) -> None:
    for text in case.variants:
        _arrives(crew, json.loads(text))
        for key in ("celery-task-meta-x", "o:celery-task-meta-x"):
            crew.redis.set(key, text, ex=60)
        run = crew.run(f"steps: [{{id: f, agent: hand, task: fail, with: {{message: {json.dumps(text)}}}}}]")
        assert text in run.document()["steps"]["f"]["error"]["message"]
    assert not list(crew.folder.rglob("pwned-*"))
    assert not list(Path.cwd().glob("pwned-*"))


def _quarantined(crew: Team, junk: list[str]) -> None:
    """Pieces of junk on the queue of `hand` go into quarantine one by one, and the next step runs within a second."""
    (quarantine,) = crew.client.quarantines()
    workers = crew.online()
    for text in junk:
        before = quarantine.count()
        crew.redis.lpush(queue_of("hand"), text)
        run = crew.submit(FLOW, {"v": 1})
        start = time.monotonic()
        run.wait(20)
        assert time.monotonic() - start < 1.5
        wait_until(lambda seen=before: quarantine.count() == seen + 1, what=f"{text} in quarantine", timeout_s=10)
        assert quarantine.all()[-1].reason
    assert crew.online() == workers  # the same processes
    quarantine.remove(*(entry.id for entry in quarantine.all()))


@pytest.mark.hostile("S-15")
def test_what_is_no_message_goes_into_quarantine(case: Case, crew: Team) -> None:
    _quarantined(crew, list(case.variants))


@pytest.mark.hostile("S-16")
def test_what_is_no_envelope_goes_into_quarantine(case: Case, crew: Team) -> None:
    _quarantined(crew, list(case.variants))


@pytest.mark.hostile("S-17")
def test_metadata_has_a_size_and_no_power(case: Case, crew: Team) -> None:
    for value in case.variants:
        with pytest.raises(MessageInvalid, match=r"metadata is .* the limit is 65,536"):
            crew.client.send("ear", "x", metadata=value)
    taken = {"sender": "boss", "from": "boss", "retries": 99, "queue": "agent.hand", "to_agent": "hand"}
    receipt = crew.client.send("ear", "x", metadata=taken)
    message = crew.client.message(receipt.message_id).message
    assert (message.from_agent, message.to_agent) == ("operator", "ear")
    assert dict(message.metadata) == taken
    for name in ("thread_id", "idempotency_key"):
        for wrong in ("x" * 501, "", "a\nb", 5):
            with pytest.raises(MessageInvalid, match=f"{name} is no text of 1 to 500 characters"):
                crew.client.send("ear", "x", **{name: wrong})
