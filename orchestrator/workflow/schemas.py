"""JSON Schema of outputs: does a step's output fit it, and does an expression read a field that it has?"""

from __future__ import annotations

from typing import Any

from orchestrator.workflow.nearby import did_you_mean, listed

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
    return None


def misfit(schema: Schema, value: Json) -> str | None:
    """Where a value does not fit a schema, or None."""
    from jsonschema import Draft202012Validator

    error = next(iter(Draft202012Validator(schema).iter_errors(value)), None)
    if error is None:
        return None
    message = error.message if len(error.message) <= 300 else error.message[:297] + "..."
    return f"{error.json_path}: {message}" if error.path else message


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
