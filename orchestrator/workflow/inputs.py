"""The inputs of a run: are the declarations right, and do the values given fit them?"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.patterns import matches, wrong_pattern
from orchestrator.workflow.plan import Plan

if TYPE_CHECKING:
    from orchestrator.workflow.spec import Input  # who checks a run's inputs needs no schema of workflow files

Json = Any
Place = tuple[str | int, ...]

_TYPES: dict[str, Callable[[Json], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "any": lambda value: True,
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_ARTICLE = {"integer": "an", "array": "an", "object": "an"}


def input_schema(declared: Input) -> dict[str, Json]:
    """The declaration as the plan keeps it: only what was written."""
    return {name: getattr(declared, name) for name in declared.model_fields_set | {"type"} if name != "description"}


def check_declaration(declared: Input) -> list[tuple[Place, str]]:
    """What is wrong with a declaration: a default that does not fit it, a pattern that is none."""
    if declared.pattern is not None and (wrong := wrong_pattern(declared.pattern)):
        return [(("pattern",), wrong)]
    for keyword, types in _KEYWORD_TYPES.items():
        if keyword in declared.model_fields_set and declared.type not in types:
            return [((keyword,), f"{keyword!r} goes with type {' or '.join(types)}, not with {declared.type}")]
    for low, high in (("minimum", "maximum"), ("min_length", "max_length")):
        least, most = getattr(declared, low), getattr(declared, high)
        if least is not None and most is not None and least > most:
            return [((low,), f"{low!r} is larger than {high!r}, so that no value fits")]
    if declared.required:
        return []
    wrong = wrong_value(declared.default, input_schema(declared))
    return [(("default",), wrong)] if wrong else []


_KEYWORD_TYPES = {
    "minimum": ("integer", "number"),
    "maximum": ("integer", "number"),
    "min_length": ("string", "array"),
    "max_length": ("string", "array"),
    "pattern": ("string",),
}


def check_inputs(plan: Plan, given: Mapping[str, Json]) -> dict[str, Json]:
    """The inputs of a run, with defaults filled in; `number` inputs become doubles.

    Raises:
        WorkflowInvalid: every input that is unknown, missing or does not fit.
    """
    schema = plan.inputs_schema
    problems = []
    for name in given:
        if name not in schema:
            near = did_you_mean(name, schema) or f"; {plan.name} has {listed(schema)}"
            problems.append(Problem("inputs", 0, name, f"unknown input{near}"))
    values: dict[str, Json] = {}
    for name, declared in schema.items():
        if name not in given and "default" not in declared:
            kind = declared["type"]
            problems.append(Problem("inputs", 0, name, f"is required ({kind}): give it with -i {name}=..."))
            continue
        value = given.get(name, declared.get("default"))
        wrong = wrong_value(value, declared) if name in given else None
        if wrong:
            problems.append(Problem("inputs", 0, name, wrong))
        values[name] = float(value) if declared["type"] == "number" and not wrong else value
    if problems:
        raise WorkflowInvalid(problems)
    return values


def parse_input(schema: Mapping[str, Mapping[str, Json]], name: str, text: str) -> Json:
    """The value of `-i name=text`: text stays text where the input is a string, everything else is read as JSON.

    Args:
        schema: the plan's `inputs_schema`.
    Raises:
        ValueError: the text is no JSON; says what to write.
    """
    kind = schema.get(name, {}).get("type", "any")
    if kind == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        if kind == "any":
            return text
        example = {"boolean": "true", "array": '["a","b"]', "object": '{"a":1}', "integer": "3", "number": "2.5"}[kind]
        raise ValueError(f"must be {_ARTICLE.get(kind, 'a')} {kind} such as {example}, and is {text!r}") from None


def wrong_value(value: Json, declared: Mapping[str, Json]) -> str | None:
    """Why a value does not fit a declaration, or None."""
    kind = declared["type"]
    try:
        strange = _not_json(value)
    except RecursionError:
        strange = "contains itself, or is nested too deeply"
    if strange:
        return strange
    if not _TYPES[kind](value):
        return f"must be {_ARTICLE.get(kind, 'a')} {kind}, and is {_shown(value)}"
    if "enum" in declared and declared["enum"] is not None and value not in declared["enum"]:
        near = did_you_mean(value, map(str, declared["enum"])) if isinstance(value, str) else ""
        return f"is {_shown(value)}, and must be one of {listed(_shown(choice) for choice in declared['enum'])}{near}"
    return _out_of_range(value, declared)


def _not_json(value: Json) -> str | None:
    """What in a value JSON cannot say: Python programs can give anything."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else "holds a number that does not fit into 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"holds {value}, which is no JSON number"
    if isinstance(value, str):
        return "holds half of a surrogate pair, which is no text" if _SURROGATE.search(value) else None
    if isinstance(value, list):
        return next((strange for item in value if (strange := _not_json(item))), None)
    if isinstance(value, dict):
        keys = (None if isinstance(key, str) else f"has the key {key!r}, and keys are text" for key in value)
        parts = (*keys, *map(_not_json, value.keys()), *map(_not_json, value.values()))
        return next((strange for strange in parts if strange), None)
    return f"holds a {type(value).__name__}, which is no JSON value"


def _out_of_range(value: Json, declared: Mapping[str, Json]) -> str | None:
    low, high = declared.get("minimum"), declared.get("maximum")
    if low is not None and value < low:
        return f"is {_shown(value)}, and the minimum is {low}"
    if high is not None and value > high:
        return f"is {_shown(value)}, and the maximum is {high}"
    shortest, longest = declared.get("min_length"), declared.get("max_length")
    if shortest is not None and len(value) < shortest:
        return f"has length {len(value)}, and the shortest is {shortest}"
    if longest is not None and len(value) > longest:
        return f"has length {len(value)}, and the longest is {longest}"
    if declared.get("pattern") and not matches(declared["pattern"], value):
        return f"is {_shown(value)}, and does not match {declared['pattern']}"
    return None


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."
