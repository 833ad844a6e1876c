"""`orchestrator schema`: it knows what a file may say, as the loader does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from orchestrator.cli.app import main
from orchestrator.workflow.schema import KEYS, file_schema
from orchestrator.workflow.spec import Step, Workflow
from orchestrator.workflow.yaml_values import read_yaml

ROOT = Path(__file__).parents[2]
SCHEMA = file_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

EVERYTHING = """
name: all-of-it
version: 3
description: everything there is
inputs: {topic: {type: string, min_length: 1}, n: {default: null, enum: [1, null]}}
priority: high
timeout: 2h
idempotency: {key: "${{ inputs.topic }}", ttl: 1d, on_duplicate: reject}
concurrency: {key: one, max_runs: 2, on_limit: cancel_oldest}
schedule: {cron: "0 6 * * *", timezone: Europe/Vienna, overlap: queue, catchup: all, inputs: {topic: tea}}
retention: {succeeded: 1d, failed: 7d}
defaults: {retry: {max_attempts: 4, delay: 2s, backoff: linear, max_delay: 1m, jitter: true, give_up_on: [E]}, timeout: 5m}
steps:
  - {id: a, agent: x, task: t, with: {n: 1}, needs: [], when: true, run_if: always, on_error: continue, priority: low}
  - {id: b, capability: c, fallback: {agent: y}, limits: [{key: k, rate: 60/1m}, {key: k, max: 2}], cache: {key: k, ttl: 1h}}
  - {id: c, foreach: [1, a], max_parallel: 2, on_item_error: skip, steps: [{set: {x: [1]}}], output_schema: {type: array}}
  - {id: d, foreach: "${{ inputs.n }}", workflow: other.yaml, compensate: {agent: x, task: undo, with: {}, timeout: 1s}}
  - enough: 1
    rest: finish
    parallel: [{id: e, wait: {signal: go, timeout: 24h, on_timeout: continue}}, {steps: [{id: f, wait: {for: 0s}}]}]
  - switch: [{when: "${{ true }}", steps: [{id: g, wait: {for: "${{ inputs.topic }}"}}]}, {default: true, steps: [{set: {}}]}]
  - {loop: {until: "${{ true }}", max_iterations: 3, delay: 500ms}, steps: [{id: h, wait: {until: "2026-12-24T18:00:00Z"}}]}
  - {id: z, when: false, end: {status: failed, message: "${{ inputs.topic }}"}}
outputs: {x: 1}
on_failure: [{id: i, agent: x}]
finally: [{id: j, agent: x}]
tests: [{name: t, inputs: {topic: x}, mock: {a: 1}, signals: {go: 1}, expect: {status: failed, outputs: {}, ran: [a], skipped: []}}]
"""  # noqa: E501

WORKFLOWS = sorted((ROOT / "workflows").rglob("*.y*ml"))


def errors(value: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(value)]


def spec_takes(value: Any) -> bool:
    try:
        Workflow.model_validate(value)
    except ValidationError:
        return False
    return True


def test_it_is_a_json_schema_2020_12_with_a_title() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["title"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda path: path.name)
def test_it_takes_every_workflow_that_comes_with_it(file: Path) -> None:
    assert errors(read_yaml(file.read_text("utf-8"))[0]) == []


def test_it_takes_everything_that_a_file_may_say() -> None:
    value = read_yaml(EVERYTHING)[0]
    assert spec_takes(value)
    assert errors(value) == []
    assert set(value) == set(SCHEMA["properties"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"stps": []}, {"name": "Upper"}, {"name": 3}, {"priority": "hihg"}, {"timeout": "0s"}, {"timeout": 30},
        {"timeout": "30"}, {"steps": []}, {"steps": {}}, {"inputs": {"a-b": {}}}, {"inputs": {"a": {"type": "text"}}},
        {"version": [1]}, {"concurrency": {"max_runs": 1}}, {"tests": [{"name": "x"}]}, {"schedule": {"cron": 1}},
        {"idempotency": {"key": "k", "ttl": "1 day"}}, {"tests": [{"name": "x", "expect": {"status": "done"}}]},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_it_refuses_what_the_loader_refuses_in_a_file(wrong: dict[str, Any]) -> None:
    value = {"name": "x", "steps": [{"id": "a", "agent": "x"}]} | wrong
    assert not spec_takes(value)
    assert errors(value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"agnet": "x"}, {"id": "1a"}, {"id": "a b"}, {"with": []}, {"needs": "a"}, {"when": 1}, {"run_if": "all"},
        {"foreach": 3}, {"max_parallel": 0}, {"on_error": "ignore"}, {"retry": {"delay": "2"}}, {"retry": 3},
        {"retry": {"max_attempts": 0}}, {"limits": [{"key": "k", "rate": "60"}]}, {"limits": [{"key": "", "max": 1}]},
        {"limits": [{"key": "k", "rate": "0/1m"}]}, {"limits": [{"key": "k", "max": 0}]}, {"cache": {"key": "k"}},
        {"wait": {"for": "soon"}}, {"wait": {"signal": "a b"}}, {"wait": {"fr": "1s"}}, {"parallel": []},
        {"switch": [{"when": True}]}, {"switch": [{"default": False, "steps": [{"set": {}}]}]}, {"set": [1]},
        {"loop": {"until": "x", "max_iterations": 0}}, {"steps": [{"x": 1}]}, {"compensate": {"retry": {"x": 1}}},
        {"fallback": {"task": "t"}}, {"enough": 0},
        {"rest": "stop"}, {"end": {}}, {"end": {"status": "cancelled"}},
        {"parallel": [{"steps": [{"priority": "top"}]}]}, {"output_schema": "object"},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_it_refuses_what_the_loader_refuses_in_a_step(wrong: dict[str, Any]) -> None:
    value = {"name": "x", "steps": [wrong]}
    assert not spec_takes(value)
    assert errors(value)


def test_a_key_without_a_value_is_left_out_not_null() -> None:
    assert errors({"name": "x", "steps": [{"agent": None}]})


def test_every_key_has_a_line_about_it() -> None:
    assert set(KEYS["Step"]) == {field.alias or name for name, field in Step.model_fields.items()}
    for name, part in {**SCHEMA["$defs"], "Workflow": SCHEMA}.items():
        assert set(KEYS[name]) == set(part["properties"]), name
        assert part["description"]
        assert part["additionalProperties"] is False
        for key, value in part["properties"].items():
            assert value["description"].endswith("."), f"{name}.{key}"
            assert "\n" not in value["description"]


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
