"""The inputs of a run as they come from a command line: `-i name=value`, `--inputs FILE.json`. All mistakes at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.workflow.inputs import parse_input
from orchestrator.workflow.plan import Plan

Json = Any


def read_inputs(plan: Plan, given: list[str], file: str | None) -> dict[str, Json]:
    """The values of `--inputs`, and those of `-i` over them, each read as its declared type.

    Raises:
        WorkflowInvalid: every value that cannot be read, missing ones included.
    """
    problems: list[Problem] = []
    values = _read_file(file, problems) if file else {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals:
            problems.append(Problem("-i", 0, pair, "write NAME=VALUE"))
            continue
        try:
            values[name] = parse_input(plan, name, text)
        except WorkflowInvalid as error:
            problems.extend(error.problems)
    if problems:
        raise WorkflowInvalid(problems)
    return values


def _read_file(name: str, problems: list[Problem]) -> dict[str, Json]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
        values = json.loads(text)
    except OSError as error:
        problems.append(Problem(name, 0, "", error.strerror or "cannot be read"))
    except UnicodeDecodeError:
        problems.append(Problem(name, 0, "", "is not UTF-8 text"))
    except json.JSONDecodeError as error:
        problems.append(Problem(name, error.lineno, "", f"is no JSON: {error.msg}"))
    else:
        if isinstance(values, dict):
            return values
        problems.append(Problem(name, 1, "", 'must hold one JSON object, such as {"name": "Ada"}'))
    return {}
