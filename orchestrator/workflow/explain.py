"""Says why an expression could not be evaluated: which name was null or missing, which conversion to write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.workflow.cel_source import CelSource, Path
from orchestrator.workflow.functions import KNOWN
from orchestrator.workflow.nearby import did_you_mean, listed

Json = Any
_UNDEFINED = re.compile(r"Undefined variable or function: '([^']*)'")
_OVERLOAD = re.compile(r"No such overload|Unsupported operation|Unexpected type")
_INT = re.compile(r"(?<![\w.'\"\[])\d+(?![\w.'\"\]])")


def explain(source: CelSource, scope: Mapping[str, Any], error: str, message: str) -> str:
    """The sentence for what CEL raised.

    Args:
        error: the name of the exception's class. message: its text.
    """
    for path in source.paths:
        found = broken(path, scope)
        if found and not path.tested and (error != "KeyError" or message.strip("'\"") in path.members):
            return found
    if error == "KeyError":
        return f"no key {message} in one of the maps it reads"
    if undefined := _UNDEFINED.search(message):
        name = undefined.group(1)
        return f"{name}() does not take these arguments" if name in KNOWN else f"unknown name `{name}`"
    if error == "TypeError" and _OVERLOAD.search(message):
        return _mixed(source, scope)
    first = message.splitlines()[0] if message else error
    return first.removesuffix(". Check function arguments and their types.")


def kind(value: Json) -> str:
    """The type of a value in CEL's words."""
    if isinstance(value, Mapping):
        return "a map"
    names = {type(None): "null", bool: "a bool", int: "an int", float: "a double", str: "a string", list: "a list"}
    return names.get(type(value), type(value).__name__)


def broken(path: Path, scope: Mapping[str, Any]) -> str | None:
    """What is wrong with reading this path; None: it can be read."""
    value: Any = scope
    members = (path.root, *path.members)
    for at, member in enumerate(members):
        read = str(Path(members[0], members[1:at])) if at else ""
        if value is None:
            return f"cannot read `{member}` of {read}, which is null{_because(members[:at], scope)}"
        if not isinstance(value, Mapping):
            return f"cannot read `{member}` of {read}, which is {kind(value)} and has no fields"
        if member not in value:
            return _missing(member, read, value)
        value = value[member]
    return None


def _missing(member: str, read: str, value: Mapping[str, Any]) -> str:
    if not read:
        return f"`{member}` is not known here"
    if read == "secrets":  # their names are nobody's business
        return f"there is no secret `{member}`; set ORCHESTRATOR_SECRET_{member} where the workers run"
    keys = sorted(map(str, value))
    has = f"it has {listed(keys)}" if keys else "it is empty"
    return f"{read} has no key `{member}`{did_you_mean(member, keys)}; {has}"


def _because(members: tuple[str, ...], scope: Mapping[str, Any]) -> str:
    """Why a step's output or error is null."""
    if len(members) != 3 or members[0] != "steps":
        return ""
    if members[2] == "error":
        return ", because the step did not fail"
    status = scope["steps"][members[1]].get("status")
    was = {"skipped": "was skipped", "failed": "failed", "cancelled": "was cancelled"}.get(status or "")
    return f", because the step {was}; test steps.{members[1]}.status first" if was and members[2] == "output" else ""


def _mixed(source: CelSource, scope: Mapping[str, Any]) -> str:
    """Types that do not go together: name them, and the conversion to write."""
    values = {str(path): _value(path, scope) for path in source.paths if not path.tested and not path.dynamic}
    ints = [name for name, value in values.items() if type(value) is int]
    doubles = [name for name, value in values.items() if type(value) is float]
    strings = [name for name, value in values.items() if isinstance(value, str)]
    literal = _INT.search(source.text)
    if ints and (doubles or re.search(r"\d\.\d", source.text)):
        mend = "CEL does not mix int and double: write " + ", ".join(f"double({name})" for name in ints)
    elif doubles and literal:
        mend = f"CEL does not mix int and double: write {literal.group()}.0 instead of {literal.group()}"
    elif (strings or source.strings) and (ints or doubles):
        mend = "CEL does not mix text and numbers: write " + ", ".join(f"string({name})" for name in ints + doubles)
    else:
        mend = "convert with int(x), double(x) or string(x)"
    known = ", ".join(f"{name} is {kind(value)}" for name, value in values.items())
    return f"the types do not go together{f' ({known})' if known else ''}; {mend}"


def _value(path: Path, scope: Mapping[str, Any]) -> Any:
    value: Any = scope
    for member in (path.root, *path.members):
        value = value[member] if isinstance(value, Mapping) and member in value else None
    return value
