"""What a handler gets and gives: types, context, async, secrets, sizes; on live workers."""

from __future__ import annotations

import pytest

from orchestrator import RunHandle, RunState
from orchestrator.store.values import COMPRESS_OVER_BYTES
from tests.acceptance.team import SECRET, Team, output
from tests.waiting import wait_until


def failed(crew: Team, text: str) -> tuple[str, str]:
    """Type and message of the error of a run that must fail."""
    run = crew.run(text)
    error = run.record().error
    assert run.status() is RunState.FAILED
    assert error is not None
    return error.type, error.message


# --- types ------------------------------------------------------------------------------------------------------------


def test_pydantic_models_come_in_and_go_out(crew: Team) -> None:
    run = crew.run("steps: [{id: a, agent: hand, task: price, with: {order: {article: pen, pieces: 4}}}]")
    assert output(run, "a") == {"total": 10.0}


def test_a_wrong_type_names_the_field_and_is_not_retried(crew: Team) -> None:
    kind, message = failed(
        crew,
        """
        steps:
          - id: a
            agent: hand
            task: price
            with: {order: {article: pen, pieces: many}, each: free}
            retry: {max_attempts: 3, delay: 10ms}
        """,
    )
    assert kind == "HandlerInputInvalid"
    assert "order.pieces: " in message
    assert "each: " in message


def test_a_missing_field_is_named(crew: Team) -> None:
    kind, message = failed(crew, "steps: [{id: a, agent: hand, task: price, with: {order: {pieces: 4}}}]")
    assert (kind, message) == ("HandlerInputInvalid", "order.article: field required")


def test_a_wrong_result_names_the_field(crew: Team) -> None:
    kind, message = failed(crew, "steps: [{id: a, agent: hand, task: cheat}]")
    assert kind == "HandlerOutputInvalid"
    assert message.startswith("total: ")


def test_done_is_the_same_as_returning_its_output(crew: Team) -> None:
    assert output(crew.run("steps: [{id: a, agent: hand, task: finished}]"), "a") == {"by": "Done"}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nan", "NaN"),
        ("infinity", "infinity"),
        ("huge", "64 bits"),
        ("object", "not JSON"),
        ("half", "surrogate"),
    ],
)
def test_a_result_that_is_no_json_fails_clearly(crew: Team, what: str, said: str) -> None:
    kind, message = failed(crew, f"steps: [{{id: a, agent: hand, task: give, with: {{what: {what}}}}}]")
    assert kind == "HandlerOutputInvalid"
    assert said in message


# --- sizes ------------------------------------------------------------------------------------------------------------


def stored_bytes(crew: Team, run: RunHandle, step: str) -> int:
    return int(crew.redis.hstrlen(crew.client.store.keys.outputs(run.id), step))


def test_a_large_output_is_stored_compressed_and_passed_on_whole(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: large, with: {size: 1048576}}
          - {id: b, agent: hand, task: length, with: {text: "${{ steps.a.output }}"}}
          - {id: c, agent: many, task: echo, with: {value: "${{ steps.a.output }}!"}}
        """
    )
    assert output(run, "b") == 1 << 20
    assert output(run, "c") == "x" * (1 << 20) + "!"
    assert stored_bytes(crew, run, "a") < COMPRESS_OVER_BYTES


def test_text_of_other_alphabets_survives_compression(crew: Team) -> None:
    run = crew.run('steps: [{id: a, agent: hand, task: large, with: {size: 100000, letter: "語😀"}}]')
    assert output(run, "a") == "語😀" * 100_000


def test_an_output_over_the_limit_fails_the_step(crew: Team) -> None:
    kind, message = failed(
        crew,
        """
        steps:
          - {id: a, agent: hand, task: large, with: {size: 8388608}, retry: {max_attempts: 3, delay: 10ms}}
        """,
    )
    assert kind == "LimitExceeded"
    assert message == "the output is 8,388,610 bytes as JSON; the limit is 8,388,608"


# --- context ----------------------------------------------------------------------------------------------------------


def test_the_context_shows_the_run_and_takes_progress(crew: Team) -> None:
    run = crew.submit(
        """
        inputs: {who: {type: string}, n: {type: integer, default: 3}}
        steps:
          - {id: before, agent: hand, task: echo, with: {value: {x: 1}}}
          - {id: look, agent: hand, task: look_around}
        """,
        {"who": "Ada"},
    )
    run.result(10)
    assert output(run, "look") == {
        "inputs": {"who": "Ada", "n": 3}, "steps": ["before", "look"], "before": ["succeeded", {"x": 1}],
        "cancelled": False, "step_id": "look", "attempt": 1,
    }  # fmt: skip
    shown = run.document()["steps"]["look"]
    assert (shown["progress"], shown["note"]) == (0.25, "a quarter")
    [told] = [event for event in run.events() if event.name == "step.progress"]
    assert told.data == {"fraction": 0.25, "note": "a quarter"}
    wait_until(lambda: "looking around" in crew.log, what="the handler's log line", timeout_s=5)


@pytest.mark.parametrize("agent", ["hand", "many"])
def test_async_handlers_run_in_processes_and_in_threads(crew: Team, agent: str) -> None:
    run = crew.run(f"steps: [{{id: a, agent: {agent}, task: greet, with: {{name: Ada}}}}]")
    assert output(run, "a") == "Hello, Ada!"


# --- secrets ----------------------------------------------------------------------------------------------------------


def everything_stored(crew: Team) -> str:
    """All keys and values of the server."""
    found = []
    read = {
        "string": crew.redis.get,
        "hash": crew.redis.hgetall,
        "list": lambda key: crew.redis.lrange(key, 0, -1),
        "set": crew.redis.smembers,
        "zset": lambda key: crew.redis.zrange(key, 0, -1),
        "stream": crew.redis.xrange,
    }
    for key in crew.redis.scan_iter(count=1000):
        found.append(f"{key} {read.get(crew.redis.type(key), lambda key: '')(key)}")
    return "\n".join(found)


def test_a_secret_reaches_the_handler_and_nothing_else(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: a, agent: hand, task: secretive, with: {password: "${{ secrets.DOOR }}"}}
          - {id: b, agent: hand, task: secretive, with: {password: "key: ${{ secrets.DOOR }}"}}
        """
    )
    assert (output(run, "a"), output(run, "b")) == (len(SECRET), len(SECRET) + 5)
    stored = everything_stored(crew)
    assert run.id in stored
    assert SECRET not in stored
    assert SECRET not in crew.log
    assert SECRET not in str(run.document())


def test_a_secret_that_is_not_set_fails_the_step_and_is_named(crew: Team) -> None:
    kind, message = failed(
        crew, 'steps: [{id: a, agent: hand, task: secretive, with: {password: "${{ secrets.WINDOW }}"}}]'
    )
    assert kind == "ExpressionError"
    assert "WINDOW" in message


def test_a_secret_in_a_value_of_the_wrong_type_is_not_told(crew: Team) -> None:
    kind, message = failed(crew, 'steps: [{id: a, agent: hand, task: large, with: {size: "${{ secrets.DOOR }}"}}]')
    assert kind == "HandlerInputInvalid"
    assert "size" in message
    assert SECRET not in message
    assert SECRET not in everything_stored(crew)
    assert SECRET not in crew.log


def test_a_secret_in_the_error_of_a_handler_is_not_told(crew: Team) -> None:
    kind, message = failed(crew, 'steps: [{id: a, agent: hand, task: betray, with: {password: "${{ secrets.DOOR }}"}}]')
    assert (kind, message) == ("PermissionError", "the door does not open with '***'")
    assert SECRET not in everything_stored(crew)
    assert SECRET not in crew.log
