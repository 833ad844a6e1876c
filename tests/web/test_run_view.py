"""What the page of a run is told, from real runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator import StepState
from orchestrator.errors import RunNotFound, UnknownStep
from orchestrator.web.api.schemas import SCHEMAS
from orchestrator.web.run_page import MOST_ITEMS, embedded, run_news, run_view
from orchestrator.web.step_page import LONGEST, step_view
from tests.acceptance.team import SECRET, Team


def row(view: dict[str, Any], name: str) -> dict[str, Any]:
    return next(found for found in view["rows"] if found["id"] == name)


def test_a_run_that_waits_says_for_what_and_what_can_be_done(crew: Team) -> None:
    run = crew.submit("steps: [{id: ask, wait: {signal: go}}, {id: after, agent: hand, task: echo}]")
    crew.wait_for_state(run, "ask", StepState.WAITING)
    view = run_view(crew.client, run.id)
    since = run.document()["steps"]["ask"]["started_at"]
    assert view["asks"] == [{"step": "ask", "signal": "go", "until": "", "since": since}]
    assert view["may"] == ["pause", "cancel"]
    assert row(view, "after")["why"] == "Waits for ask."
    assert view["units"]["ask"] == {"state": "waiting", "note": "for go"}
    assert set(view) - set(run_news(crew.client, run.id)) == {"graph"}
    run.cancel()


def test_a_step_that_nobody_can_run_says_so(crew: Team) -> None:
    run = crew.submit("steps: [{id: lone, agent: solo, task: echo}]")
    assert row(run_view(crew.client, run.id), "lone")["why"].endswith("no worker of the agent solo is online.")
    run.cancel()


def test_of_many_items_a_hundred_have_rows_and_those_that_failed_come_first(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - id: each
            foreach: "${{ lists.range(150) }}"
            on_item_error: collect
            steps: [{id: odd, agent: many, task: fail, when: "${{ item == 140 }}"}]
        """
    )
    view = run_view(crew.client, run.id)
    for name in ("each", "odd"):
        items = [one["id"] for one in view["rows"] if one["id"].startswith(f"{name}[")]
        assert len(items) == MOST_ITEMS
        assert items[-2:] == [f"{name}[98]", f"{name}[140]"]
    assert view["hidden"] == 100
    assert view["units"]["odd"] == {"state": "failed", "note": "", "of": 150, "done": 150, "failed": 1}


def test_a_failed_run_names_its_error_and_leaves_no_traceback_in_the_events(crew: Team) -> None:
    run = crew.run("steps: [{id: bad, agent: hand, task: fail}]")
    view = run_view(crew.client, run.id)
    assert view["error"]["type"] == "ValueError"
    assert "raise ValueError(message)" in view["error"]["traceback"]
    assert "Traceback" not in json.dumps(view["events"])
    assert view["may"] == ["rerun"]


def test_the_input_of_a_step_is_shown_without_secrets(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: one, agent: hand, task: echo, with: {value: [1, 2]}}
          - id: two
            agent: hand
            task: echo
            with: {value: {door: "key: ${{ secrets.DOOR }}", last: "${{ steps.one.output[1] }}"}}
        """
    )
    shown = step_view(crew.client, run.id, "two")
    assert json.loads(shown["input"]) == {"value": {"door": "key: ***", "last": "${{ steps.one.output[1] }}"}}
    assert SECRET not in json.dumps(run_view(crew.client, run.id))


def test_an_item_shows_its_own_input_and_output(crew: Team) -> None:
    run = crew.run(
        """
        steps:
          - {id: plain, foreach: [a, b], agent: many, task: echo, with: {value: "${{ item }}${{ index }}"}}
          - id: nest
            foreach: [c, d]
            steps: [{id: inner, agent: many, task: echo, with: {value: "${{ item }}!"}}]
        """
    )
    for name, given, back in (("plain[1]", "b1", "b1"), ("inner[0]", "c!", "c!")):
        shown = step_view(crew.client, run.id, name)
        assert (json.loads(shown["input"]), json.loads(shown["output"])) == ({"value": given}, back)
    whole = step_view(crew.client, run.id, "plain")
    assert (json.loads(whole["input"]), json.loads(whole["output"])) == (["a", "b"], ["a0", "b1"])
    assert [item["id"] for item in whole["items"]] == ["plain[0]", "plain[1]"]


def test_a_step_that_has_not_started_shows_its_input_as_written(crew: Team) -> None:
    run = crew.submit(
        """
        steps:
          - {id: ask, wait: {signal: go}}
          - {id: after, agent: hand, task: echo, with: {value: "${{ steps.ask.output }}"}}
        """
    )
    crew.wait_for_state(run, "ask", StepState.WAITING)
    shown = step_view(crew.client, run.id, "after")
    assert json.loads(shown["input"]) == {"value": "${{ steps.ask.output }}"}
    assert shown["input_note"] == "as the workflow writes it; the step has not started"
    assert shown["task"] is None
    run.cancel()


def test_what_the_graph_shows_and_no_row_does_can_be_opened_too(crew: Team) -> None:
    run = crew.run(
        """
        steps: [{id: nest, foreach: [c, d], steps: [{id: inner, agent: many, task: echo}]}]
        on_failure: [{id: alert, agent: many, task: echo}]
        """
    )
    inner, alert = (step_view(crew.client, run.id, name) for name in ("inner", "alert"))
    assert (inner["state"], inner["why"]) == ("succeeded", "Runs once for each item of nest.")
    assert [item["id"] for item in inner["items"]] == ["inner[0]", "inner[1]"]
    assert (alert["state"], alert["why"], alert["items"]) == ("skipped", "Runs only if the run fails.", [])


def test_a_large_output_is_cut(crew: Team) -> None:
    run = crew.run("steps: [{id: big, agent: hand, task: large, with: {size: 200000}}]")
    shown = step_view(crew.client, run.id, "big")
    assert len(shown["output"]) < LONGEST + 100
    assert shown["output"].endswith("characters more")


def test_runs_and_steps_that_do_not_exist(crew: Team) -> None:
    with pytest.raises(RunNotFound):
        run_view(crew.client, "nobody")
    run = crew.run("steps: [{id: a, set: {x: 1}}]")
    with pytest.raises(UnknownStep):
        step_view(crew.client, run.id, "b")


def test_what_the_api_gives_fits_its_schemas(crew: Team) -> None:
    run = crew.run("steps: [{id: bad, agent: hand, task: fail, with: {message: no}}]")
    shown = {"RunView": run_news(crew.client, run.id), "StepView": step_view(crew.client, run.id, "bad")}
    for name, document in shown.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
        Draft202012Validator(schema).validate(json.loads(json.dumps(document)))


def test_nothing_in_the_data_can_end_the_script_around_it() -> None:
    text = embedded({"</script>": "<!-- & <script>"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"</script>": "<!-- & <script>"}
