"""JSON Schema of outputs: does a step's output fit it, and does an expression read a field that it has?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.patterns import matches, wrong_pattern

Json = Any
Schema = dict[str, Json]
_DEEPEST = 50  # references that lead on to references


def problem_of(schema: Schema) -> str | None:
    """What is wrong with a schema, or None."""
    from jsonschema import Draft202012Validator  # 0.1 s that most commands do not need
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"is no JSON Schema: {error.message}"
    return _forbidden(schema)


def _forbidden(schema: Json) -> str | None:
    """What a schema may not say here: nothing is fetched from elsewhere, and no pattern may run for ever."""
    if isinstance(schema, list):
        return next((wrong for part in schema if (wrong := _forbidden(part))), None)
    if not isinstance(schema, dict):
        return None
    for word in ("$ref", "$dynamicRef"):
        if isinstance(schema.get(word), str) and not schema[word].startswith("#"):
            return f"{word} {schema[word]!r} leads out of the schema; put what it means under `$defs`"
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and (wrong := wrong_pattern(pattern)):
        return f"the pattern {pattern!r} {wrong}"
    return _forbidden(list(schema.values()))


def misfit(schema: Schema, value: Json) -> str | None:
    """Where a value does not fit a schema, or None."""
    error = next(iter(_validator()(schema).iter_errors(value)), None)
    if error is None:
        return None
    message = error.message if len(error.message) <= 300 else error.message[:297] + "..."
    return f"{error.json_path}: {message}" if error.path else message


@cache
def _validator() -> Any:
    """The class of validators whose `pattern` runs in a time that is bounded."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend

    def pattern(validator: Any, wanted: str, value: Json, schema: Schema) -> Iterator[Any]:
        if isinstance(value, str) and not matches(wanted, value):
            yield ValidationError(f"{value!r} does not match {wanted!r}")

    return extend(Draft202012Validator, {"pattern": pattern})


def unknown_field(schema: Schema, members: tuple[str, ...]) -> str | None:
    """What is wrong with reading these fields of a value of this schema, or None where the schema allows it.

    Only what the schema rules out is wrong: an object with `properties` has no others, unless it says so.
    """
    return _unknown(schema, members, schema, ())


def _unknown(schema: Json, members: tuple[str, ...], root: Schema, above: tuple[str, ...]) -> str | None:
    if not members:
        return None
    choices = _choices(schema, root, _DEEPEST)
    if not choices:
        return None
    answers = [_unknown_in(choice, members, root, above) for choice in choices]
    return None if None in answers else answers[0]


def _unknown_in(schema: Schema, members: tuple[str, ...], root: Schema, above: tuple[str, ...]) -> str | None:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        kind = schema.get("type")
        if kind in ("string", "number", "integer", "boolean", "array"):
            return f"it is {_KINDS.get(kind, f'a {kind}')} and has no field `{members[0]}`"
        return None
    if members[0] in properties:
        return _unknown(properties[members[0]], members[1:], root, (*above, members[0]))
    if schema.get("additionalProperties") or schema.get("patternProperties"):
        return None
    where = f"`{'.'.join(above)}` of it" if above else "it"
    near = did_you_mean(members[0], properties) or f"; there is {listed(properties)}" if properties else ""
    return f"{where} has no field `{members[0]}`{near}"


_KINDS = {"integer": "an integer", "array": "a list"}


def _choices(schema: Json, root: Schema, left: int) -> list[Schema]:
    """The alternatives of a schema, references followed, without null. Empty: nothing is known."""
    if not isinstance(schema, dict) or left == 0:
        return []
    if isinstance(reference := schema.get("$ref"), str):
        found: Json = root
        for part in reference.removeprefix("#/").split("/") if reference.startswith("#/") else ():
            found = found.get(part) if isinstance(found, dict) else None
        return _choices(found, root, left - 1) if found is not root else []
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list):
            groups = [_choices(part, root, left - 1) for part in schema[word] if part != {"type": "null"}]
            return [] if [] in groups else [choice for group in groups for choice in group]
    return [] if "allOf" in schema else [schema]
