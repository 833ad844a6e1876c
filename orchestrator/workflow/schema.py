"""The JSON Schema of workflow files, for editors: made from the models of `spec.py`, with a line about each key.

It says which keys and types there are. What makes sense together is for `orchestrator validate`.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from orchestrator.workflow import spec
from orchestrator.workflow.times import parse_duration

Json = Any
_UNIT = "(ms|s|m|h|d)$"
_EXPRESSION = {"type": "string", "pattern": r"\$\{\{"}
_DURATION = {"type": "string", "pattern": f"^[0-9]+{_UNIT}"}
_LONGER_THAN_0 = f"^0*[1-9][0-9]*{_UNIT}"
#: What the file says where a model holds what was made of it, by the function that makes it.
_WRITTEN: dict[Any, JsonSchemaValue] = {
    parse_duration: _DURATION,
    spec._wait_for: {"anyOf": [_DURATION, _EXPRESSION]},
    spec._rate: {"type": "string", "pattern": f"^0*[1-9][0-9]*/{_LONGER_THAN_0[1:]}"},
    spec._text: {"type": ["string", "number"]},
}
_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000}


def file_schema() -> dict[str, Json]:
    """JSON Schema 2020-12 of a workflow file."""
    made: dict[str, Json] = spec.Workflow.model_json_schema(by_alias=True, schema_generator=_AsWritten)
    parts = {name: _tidy(part) for name, part in made.pop("$defs").items()}
    whole = _tidy(made)
    for name, part in {**parts, "Workflow": whole}.items():
        for key, about in KEYS.get(name, {}).items():
            part["properties"][key]["description"] = about
    head: dict[str, Json] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Workflow of agents"}
    return {**head, **whole, "$defs": parts}


class _AsWritten(GenerateJsonSchema):
    """Values that the models convert appear as the file writes them."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        written = _WRITTEN.get(schema["function"]["function"])
        return super().function_before_schema(schema) if written is None else dict(written)


def _tidy(schema: Json) -> Json:
    """Without titles that repeat the key, without null (a key without a value is left out), durations as text."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema if part != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    made = {key: _tidy(part) for key, part in schema.items() if key not in ("ge", "le", "default", "properties")}
    if isinstance(made.get("title"), str):
        del made["title"]
    if "properties" in schema:
        made["properties"] = {name: _tidy(part) for name, part in schema["properties"].items()}
    if schema.get("pattern") == _DURATION["pattern"] and "ge" in schema:
        made["pattern"] = _LONGER_THAN_0
    if schema.get("default") not in (None, [], "") and not isinstance(schema["default"], dict):
        made["default"] = _duration(schema["default"]) if "pattern" in made else schema["default"]
    if "patternProperties" in made:
        made["additionalProperties"] = False
    if isinstance(choices := made.get("anyOf"), list) and len(choices) == 1:
        made |= made.pop("anyOf")[0]
    return made


def _duration(value: Json) -> Json:
    """`24h` of milliseconds."""
    if not isinstance(value, int):
        return value
    unit = next((unit for unit, size in _UNITS.items() if value and value % size == 0), None)
    return f"{value // _UNITS[unit]}{unit}" if unit else f"{value}ms"


_KEY = "Text or an expression over `inputs`; runs with the same value belong together."
_WITH = "The values given to it, by parameter; they may hold expressions `${{ ... }}`."
_TASK = "The task of the agent; left out: its only one."
_RETRY = "How often and how soon a failed attempt is repeated."
_TIMEOUT = "How long one attempt may take, as in `5m`; then it has failed."

#: What each key is for, by model; a test sees to it that no key of a step or of a file is missing.
KEYS: dict[str, dict[str, str]] = {
    "Workflow": {
        "name": "The name of the workflow: a-z, 0-9 and '-'.",
        "version": "Any text; a run keeps the definition it has started with.",
        "description": "What the workflow is for.",
        "inputs": "What a run is given, by name. An input without a default is required.",
        "priority": "The priority of its steps, unless the command or the step says otherwise.",
        "timeout": "How long a run may take, as in `2h`; then it fails.",
        "idempotency": "Runs with the same key are one run.",
        "concurrency": "How many runs with the same key go on at a time.",
        "schedule": "When the workflow starts by itself.",
        "retention": "How long a run is kept after its end.",
        "defaults": "What holds for every step that does not say otherwise.",
        "steps": "The steps, each after the one above unless it has `needs`.",
        "outputs": "The outputs of a run, by name; expressions may read all steps.",
        "on_failure": "Steps that run when the run has failed; `run.error` says why.",
        "finally": "Steps that run at the end of every run, however it ends.",
        "tests": "Tests of this file, for `orchestrator test`.",
    },
    "Step": {
        "id": "The name of the step; expressions read `steps.ID.output`.",
        "agent": "The agent that runs the step.",
        "capability": "Instead of an agent: any agent that is online and has this capability.",
        "task": _TASK,
        "workflow": "A workflow file, relative to this one, that runs as a child; the output is the child's outputs.",
        "with": _WITH,
        "needs": "The steps that must be done before it; left out: the one above. `[]` starts at once.",
        "when": "A condition; where it is false, the step is skipped.",
        "run_if": "How the needed steps must have ended; default: none of them failed.",
        "foreach": "A list, or an expression that gives one: the step runs once for each `item` (number: `index`).",
        "max_parallel": "How many items of a foreach run at the same time; default: all.",
        "on_item_error": "A failed item fails the foreach, is collected as `{error}`, or is left out.",
        "enough": "So many branches of a parallel, or items of a foreach, have to succeed; then it is done.",
        "rest": "Once there are enough: the others are cancelled (default), or may finish.",
        "retry": _RETRY,
        "timeout": _TIMEOUT,
        "on_error": "Whether a failure of this step fails the run, or the run continues.",
        "fallback": "The agent that takes over when the step has failed for good.",
        "compensate": "What undoes the step when the run fails or is cancelled later.",
        "priority": "The priority of this step in its agent's queue.",
        "limits": "Rates and numbers at a time that all workers together keep to.",
        "cache": "Take the output over from an earlier run with the same key.",
        "output_schema": "JSON Schema that the output must fit.",
        "set": "Values computed without an agent; they become the output.",
        "wait": "Sleep without a worker: for a time, until a time, or until a signal comes.",
        "end": "The run ends here; what else of it runs or waits is void.",
        "parallel": "Branches that run at the same time; a branch is a step, or `{steps: [...]}`.",
        "switch": "Branches of which the first with a true `when` runs.",
        "loop": "Rounds of `steps`, until a condition holds.",
        "steps": "The steps of a loop, of each item of a foreach, of a branch, or of a group.",
        "description": "What the step is for.",
    },
    "Input": {
        "type": "The JSON type of the value.",
        "default": "The value where none is given; without it the input is required.",
        "enum": "The values that are allowed.",
        "minimum": "The least number.",
        "maximum": "The greatest number.",
        "min_length": "The least number of characters or items.",
        "max_length": "The greatest number of characters or items.",
        "pattern": "A regular expression that the text must match.",
        "description": "What the input is for.",
    },
    "RetryPolicy": {
        "max_attempts": "Attempts in all, the first included.",
        "delay": "Time before the second attempt.",
        "backoff": "How the delay grows from attempt to attempt.",
        "max_delay": "The longest delay.",
        "jitter": "Whether delays are varied by chance, so that not all come at once.",
        "give_up_on": "Types of errors that are not tried again, as in `ValueError`.",
    },
    "Defaults": {"retry": _RETRY, "timeout": _TIMEOUT},
    "Loop": {
        "until": "The condition that ends the loop, looked at after each round.",
        "max_iterations": "The most rounds; a loop that reaches them without its condition fails.",
        "delay": "Time between two rounds.",
    },
    "Wait": {
        "signal": "The name of a signal; its data becomes the output. See `orchestrator signal`, `approve`, `reject`.",
        "for": "A time to sleep, as in `10m`, or an expression that gives one.",
        "until": "A moment, as in `2026-12-24T18:00:00+01:00`, or an expression that gives one.",
        "timeout": "How long to wait for the signal.",
        "on_timeout": "Whether the step fails when the signal does not come in time, or goes on without it.",
    },
    "End": {"status": "How the run ends.", "message": "Why it fails; it may hold expressions."},
    "Branch": {
        "when": "The condition of the branch.",
        "default": "The branch that is taken when no condition is true; the last one.",
        "steps": "The steps of the branch.",
        "description": "What the branch is for.",
    },
    "Fallback": {"agent": "The agent that takes over.", "task": _TASK},
    "Compensation": {
        "agent": "The agent that undoes the step.",
        "capability": "Instead of an agent: any that is online and has this capability.",
        "task": _TASK,
        "with": _WITH,
        "retry": _RETRY,
        "timeout": _TIMEOUT,
    },
    "Cache": {"key": "An expression; the same value gives the same output.", "ttl": "How long an output is kept."},
    "Limit": {
        "key": "The name of the limit; all steps with it keep to it together.",
        "rate": "So many starts in a time, as in `60/1m`.",
        "max": "So many at the same time.",
    },
    "Idempotency": {
        "key": _KEY,
        "ttl": "How long a key is remembered.",
        "on_duplicate": "Give the run of then, or refuse the new one.",
    },
    "Concurrency": {
        "key": _KEY,
        "max_runs": "So many runs at a time.",
        "on_limit": "What a run too many does: wait, be refused, or take the place of the oldest.",
    },
    "Schedule": {
        "cron": "When, as five fields of cron.",
        "timezone": "The time zone of the cron fields, as in `Europe/Vienna`.",
        "inputs": "The inputs of the runs that it starts.",
        "overlap": "What happens when a run is due and the one before still goes on.",
        "catchup": "What happens with runs that were due while no worker was there.",
    },
    "Retention": {"succeeded": "How long a run that succeeded is kept.", "failed": "How long others are kept."},
    "Case": {
        "name": "What the test shows.",
        "inputs": "The inputs of the run.",
        "mock": 'Step id, or `ID[n]` of an item -> its output, `{"$error": text}`, or `{"$in_turn": [...]}`.',
        "signals": "Name of a signal -> its data, given to every step that waits for it.",
        "expect": "What shall come of it.",
    },
    "Expectation": {
        "status": "How the run ends; default: succeeded.",
        "outputs": "The outputs of the run.",
        "skipped": "Steps that are skipped.",
        "ran": "Steps that run.",
    },
}
