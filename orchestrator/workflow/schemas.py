"""JSON Schema of outputs: is a schema allowed, and does an expression read a field that an output has?"""

from __future__ import annotations

from typing import Any

from orchestrator.workflow.misfits import shortened
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.patterns import wrong_pattern

Json = Any
Schema = dict[str, Json]
MAX_VALUES = 10_000  # in all schemas of a file; the library takes 0.1 ms for each
_MAX_DEPTH = 64  # the library's check of a schema recurses ten times for each level
_UNBOUNDED = ("unevaluatedProperties", "unevaluatedItems")


def values_in(schema: Json) -> int:
    """How many values a schema has."""
    if isinstance(schema, (dict, list)):
        return 1 + sum(map(values_in, schema.values() if isinstance(schema, dict) else schema))
    return 1


def problem_of(schema: Schema) -> str | None:
    """What is wrong with a schema of at most `MAX_VALUES` values, or None."""
    from jsonschema import Draft202012Validator  # 0.1 s that most commands do not need
    from jsonschema.exceptions import SchemaError

    if wrong := _forbidden(schema, schema, 0):
        return wrong
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"is no JSON Schema: {shortened(error.message)}"
    return None


def _forbidden(schema: Json, root: Schema, depth: int) -> str | None:
    """What a schema may not say here: nothing is fetched from elsewhere, and no check may run for ever."""
    if depth > _MAX_DEPTH:
        return f"is nested deeper than {_MAX_DEPTH}"
    if isinstance(schema, list):
        return next((wrong for part in schema if (wrong := _forbidden(part, root, depth + 1))), None)
    if not isinstance(schema, dict):
        return None
    return _forbidden_here(schema, root) or _forbidden(list(schema.values()), root, depth)


def _forbidden_here(schema: Schema, root: Schema) -> str | None:
    for word in ("$ref", "$dynamicRef"):
        if isinstance(reference := schema.get(word), str):
            shown = shortened(repr(reference))
            if not reference.startswith("#"):
                return f"{word} {shown} leads out of the schema; put what it means under `$defs`"
            if reference != "#" and not isinstance(_meant(reference, root), (dict, bool)):
                return f"{word} {shown} leads nowhere; write '#/$defs/NAME'"
    for word in ("$id", "$anchor", "$dynamicAnchor"):
        if isinstance(schema.get(word), str) and (word != "$id" or schema is not root):
            return f"{word} is not supported; a `$ref` leads to '#/$defs/NAME'"
    for word in _UNBOUNDED:
        if isinstance(schema.get(word), (bool, dict)):
            return f"{word} is not supported; write additionalProperties, or items"
    patterns = [schema.get("pattern"), *_mapping(schema.get("patternProperties"))]
    for pattern in patterns:
        if isinstance(pattern, str) and (wrong := wrong_pattern(pattern)):
            return f"the pattern {shortened(repr(pattern))} {wrong}"
    return None


def _mapping(value: Json) -> Schema:
    return value if isinstance(value, dict) else {}


def _meant(reference: str, root: Schema) -> Json:
    """What a reference `#/a/b` leads to inside the schema, or None."""
    found: Json = root if reference.startswith("#/") else None
    for part in reference.removeprefix("#/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            at = int(name) if name.isdecimal() and len(name) < 10 else len(found)
            found = found[at] if at < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def unknown_field(schema: Schema, members: tuple[str, ...]) -> str | None:
    """What is wrong with reading these fields of a value of this schema, or None where the schema allows it.

    Only what the schema rules out is wrong: an object with `properties` has no others, unless it says so.
    """
    here: list[Json] = [schema]
    for at, member in enumerate(members):
        answers = [_field(choice, member, members[:at]) for choice in _choices(here, schema)]
        if None in answers or not answers:
            return None
        here = [answer for answer in answers if not isinstance(answer, str)]
        if not here:
            return str(answers[0])
    return None


def _field(schema: Schema, member: str, above: tuple[str, ...]) -> Json:
    """The schema of a field, a sentence where there is none, or None where nothing is known."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        kind = schema.get("type")
        if kind in ("string", "number", "integer", "boolean", "array"):
            return f"it is {_KINDS.get(kind, f'a {kind}')} and has no field `{member}`"
        return None
    if member in properties:
        return properties[member] if isinstance(properties[member], dict) else None
    if schema.get("additionalProperties") or schema.get("patternProperties"):
        return None
    where = f"`{'.'.join(above)}` of it" if above else "it"
    near = did_you_mean(member, properties) or f"; there is {listed(properties)}" if properties else ""
    return f"{where} has no field `{member}`{near}"


_KINDS = {"integer": "an integer", "array": "a list"}


def _choices(schemas: list[Json], root: Schema) -> list[Schema]:
    """The alternatives of these schemas, references followed, without null. Empty: nothing is known."""
    found: dict[int, Schema] = {}
    left, seen = list(schemas), set()
    for schema in left:  # grows on the way; a reference that comes again would bring what is there
        if not isinstance(schema, dict) or "allOf" in schema:
            return []
        alternatives = schema.get("anyOf") or schema.get("oneOf")
        if isinstance(reference := schema.get("$ref"), str):
            if reference not in seen:
                seen.add(reference)
                left.append(root if reference == "#" else _meant(reference, root))
        elif isinstance(alternatives, list):
            left += [part for part in alternatives if part != {"type": "null"}]
        else:
            found[id(schema)] = schema
    return list(found.values())
