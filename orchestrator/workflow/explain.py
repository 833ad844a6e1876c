"""From what CEL says to what a person can do: which value is null, which field is missing, which conversion to write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.workflow.cel_source import CelSource, Path, member_text


def explain(source: CelSource, scope: Mapping[str, Any], reason: str) -> str:
    """Why an evaluation failed, in the words of the workflow file.

    Args:
        reason: what CEL said.
    """
    for path in source.paths:
        found = _broken(path, scope)
        if found and not path.tested:
            return found
    if "overload" in reason and _mixes_numbers(source, scope):
        return "CEL does not mix integers and doubles in arithmetic: write double(x) or int(x) around one of them"
    if "overload" in reason:
        kinds = ", ".join(f"{path} is {kind(_value(path, scope))}" for path in source.paths)
        return f"the types do not fit the operation{f' ({kinds})' if kinds else ''}"
    return reason.splitlines()[0]


def kind(value: Any) -> str:
    """What a value is, in the words of the workflow file."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a double", str: "a string", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else type(value).__name__)


def _broken(path: Path, scope: Mapping[str, Any]) -> str | None:
    """What is wrong with reading the path, if anything."""
    value: Any = scope
    read = ""
    for member in (path.root, *path.members):
        if value is None:
            return f"{read} is null{_why_null(path, scope)}, so {member!r} cannot be read from it"
        if not isinstance(value, Mapping):
            return f"{read} is {kind(value)} and has no field {member!r}"
        if member not in value:
            if path.root == "secrets":
                return f"secrets.{member} is not set: export ORCHESTRATOR_SECRET_{member} where the workers run"
            there = ", ".join(sorted(map(str, value))[:10])
            return f"{read or 'the scope'} has no field {member!r}; it has {there or 'none'}"
        value = value[member]
        read = read + member_text(member) if read else member
    return None


def _why_null(path: Path, scope: Mapping[str, Any]) -> str:
    if path.root != "steps" or len(path.members) < 2 or path.members[1] != "output":
        return ""
    status = scope["steps"][path.members[0]]["status"]
    return f" (step {path.members[0]} was {status})" if status in ("skipped", "failed") else ""


def _value(path: Path, scope: Mapping[str, Any]) -> Any:
    value: Any = scope
    for member in (path.root, *path.members):
        if not isinstance(value, Mapping) or member not in value:
            return None
        value = value[member]
    return value


def _mixes_numbers(source: CelSource, scope: Mapping[str, Any]) -> bool:
    values = [_value(path, scope) for path in source.paths]
    kinds = {type(value) for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)}
    for token in source.tokens:
        if token.kind == "number":
            kinds.add(float if "." in token.text else int)
    return kinds == {int, float}
