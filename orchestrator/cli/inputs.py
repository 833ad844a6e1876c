"""The inputs of a run as they come from a command line: `-i name=value`, `--inputs FILE.json`. All mistakes at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.strict import loads
from orchestrator.workflow.inputs import check_inputs, parse_input
from orchestrator.workflow.plan import Plan

Json = Any


def read_inputs(
    plan: Plan, given: list[str], file: str | None, base: Mapping[str, Json] | None = None
) -> dict[str, Json]:
    """The values of `--inputs`, and those of `-i` over them, each read as its declared type; `base` lies under both.

    Raises:
        WorkflowInvalid: every input that cannot be read, is unknown, missing or does not fit.
    """
    values, problems = _read_file(file) if file else ({}, [])
    values = {**(base or {}), **values}
    complete = not problems
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals:
            problems.append(Problem("-i", 0, pair, "write NAME=VALUE"))
            continue
        try:
            values[name] = parse_input(plan.inputs_schema, name, text)
        except ValueError as error:
            problems.append(Problem("inputs", 0, name, str(error)))
    if complete:
        known = {problem.path for problem in problems}
        try:
            check_inputs(plan, values)
        except WorkflowInvalid as invalid:
            problems += [problem for problem in invalid.problems if problem.path not in known]
    if problems:
        raise WorkflowInvalid(problems)
    return values


def _read_file(name: str) -> tuple[dict[str, Json], list[Problem]]:
    """The object in a JSON file, `-` being standard input, and what is wrong with it."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
        values = loads(text)
    except OSError as error:
        return {}, [Problem(name, 0, "", error.strerror or "cannot be read")]
    except UnicodeDecodeError:
        return {}, [Problem(name, 0, "", "is not UTF-8 text")]
    except json.JSONDecodeError as error:
        return {}, [Problem(name, error.lineno, "", f"is no JSON: {error.msg}")]
    except (ValueError, RecursionError) as error:
        return {}, [Problem(name, 0, "", f"is no JSON: {error}")]
    if not isinstance(values, dict):
        return {}, [Problem(name, 1, "", 'must hold one JSON object, such as {"name": "Ada"}')]
    return values, []
