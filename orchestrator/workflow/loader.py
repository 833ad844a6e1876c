"""From a file or a text to a `Workflow`, with the line of every value. All mistakes are reported together.

YAML 1.2, core schema, JSON values only. The text is read as a stream of events and built here, because the builders
of YAML libraries lose lines, guess dates, and accept duplicate keys, tags and endless aliases.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from orchestrator.errors import Problem, WorkflowInvalid
from orchestrator.names import NAME, NAME_RULE
from orchestrator.settings import Settings
from orchestrator.workflow.effort import bounded
from orchestrator.workflow.file_text import invalid, read_text
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.spec import Branch, Input, Step, Workflow
from orchestrator.workflow.yaml_values import Lines, YamlMistake, read_yaml

Json = Any
Place = tuple[str | int, ...]
MOST_MISTAKES = 1000  # told of one file: who reads more?


@dataclass(frozen=True)
class LoadedWorkflow:
    """A file, read. `file` is its name for messages.

    `problems` are places that do not fit the schema; `spec` is the rest without them, so that the compiler can find
    the other mistakes too. It reports all together.
    """

    spec: Workflow
    file: str
    lines: Lines
    problems: tuple[Problem, ...] = ()

    def problem(self, place: Place, message: str) -> Problem:
        """A mistake at a place inside the document."""
        return Problem(self.file, self.lines.line(place), ".".join(map(str, place)), message)


def load_workflow(source: str | Path, *, text: str | None = None, limits: Settings | None = None) -> LoadedWorkflow:
    """Read and check a workflow file.

    Args:
        source: the file; with `text`, only its name for messages.
    Raises:
        WorkflowInvalid: the file cannot be read, is no YAML, or is too far from a workflow to go on.
    """
    file = str(source)
    limits = limits or Settings()
    if text is None:
        text = read_text(Path(source), limits.max_definition_bytes)
    elif len(text.encode("utf-8", "surrogatepass")) > limits.max_definition_bytes:
        raise invalid(file, 0, f"is larger than {limits.max_definition_bytes:,} bytes")
    try:
        value, lines = read_yaml(text)
    except YamlMistake as mistake:
        raise invalid(file, mistake.line, mistake.message) from None
    if not isinstance(value, dict):
        wanted = "a workflow file is a mapping that starts with `name:` and has `steps:`"
        raise invalid(file, 1, f"{wanted}, and this is {_found(value)}")
    with bounded():
        return _fit(value, file, lines)


def _fit(value: dict[str, Json], file: str, lines: Lines) -> LoadedWorkflow:
    """The document as a Workflow; places that do not fit are noted and left out, as long as a workflow remains."""
    problems: list[Problem] = []
    refused: set[Place] = set()
    while True:
        try:
            return LoadedWorkflow(Workflow.model_validate(value), file, lines, tuple(problems))
        except ValidationError as error:
            empty = LoadedWorkflow(Workflow.model_construct(name="", steps=[]), file, lines)
            mistakes = error.errors(include_url=False)[:MOST_MISTAKES]
            places = [place_of(found["loc"]) for found in mistakes]
            # What was taken out because it was wrong is not missing: the whole that needs it goes with it.
            places = [place[:-1] if place in refused else place for place in places]
            new = [
                empty.problem(place, in_words(found, place))
                for found, place in zip(mistakes, places, strict=True)
                if place == place_of(found["loc"])
            ]
            refused |= set(places)
            problems = list(dict.fromkeys(problems + new))
            rest = _without(value, set(places))
            if ("name",) in places:
                rest["name"] = "unnamed"  # the one other thing without which nothing else could be checked
            if rest == value or "steps" not in rest or len(mistakes) == MOST_MISTAKES:
                raise WorkflowInvalid(sorted(problems, key=lambda problem: problem.line)[:MOST_MISTAKES]) from None
            value = rest


def _without(value: Json, places: set[Place], here: Place = ()) -> Json:
    """A copy of the document without these mapping keys; items of lists stay, so that places keep their meaning."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if (*here, key) not in places}
        return {key: _without(item, places, (*here, key)) for key, item in kept.items()}
    if isinstance(value, list):
        return [_without(item, places, (*here, at)) for at, item in enumerate(value)]
    return value


_UNIONS = ("when", "foreach", "until", "for", "minimum", "maximum")


def place_of(loc: Place) -> Place:
    """The place in the document: pydantic adds which alternative of a union it tried, and `[key]` for a wrong key."""
    if len(loc) > 1 and (loc[-1] == "[key]" or (loc[-2] in _UNIONS and isinstance(loc[-1], str))):
        return loc[:-1]
    return loc


def in_words(found: Any, place: Place) -> str:
    """What pydantic found, in the words of a file's author. The place is not empty."""
    kind, given = found["type"], found.get("input")
    if kind == "extra_forbidden":
        return _unknown_key(place)
    if kind == "missing":
        return f"{place[-1]!r} is missing"
    if kind == "literal_error" and place[-1] == "default":
        return "must be true: it marks the last branch"
    if kind == "literal_error":
        words = [word.strip("'\" ") for word in found["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return f"{_short(given)} is not one of {', '.join(words)}{did_you_mean(str(given), words)}"
    if kind == "string_pattern_mismatch":
        return f"{_short(given)} is no name here: {_NAME_RULES[found['ctx']['pattern']]}{_odd_letter(given)}"
    if place[-1] in _WANTED and kind in ("string_type", "bool_type", "list_type"):
        return f"must be {_WANTED[str(place[-1])]}, and is {_short(given)}"
    if kind == "value_error":
        return str(found["ctx"]["error"])
    wanted = {
        "string_type": "text",
        "list_type": "a list",
        "dict_type": "a mapping",
        "bool_type": "true or false",
        "int_type": "an integer",
        "model_type": "a mapping",
        "model_attributes_type": "a mapping",
    }
    if kind in wanted:
        hint = "; put it in quotes" if kind == "string_type" and isinstance(given, (bool, int, float)) else ""
        return f"must be {wanted[kind]}, and is {_short(given)}{hint}"
    if kind in ("too_short", "list_too_short", "string_too_short"):
        return "must not be empty"
    if kind in ("greater_than_equal", "less_than_equal"):
        return _out_of_range(found["ctx"], place, given)
    return f"{found['msg'][:1].lower()}{found['msg'][1:]}, and is {_short(given)}"


_WANTED = {
    "when": "an expression `${{ ... }}`, true or false",
    "until": "an expression `${{ ... }}`",
    "foreach": "a list, or an expression `${{ ... }}` that gives one",
    "minimum": "a number",
    "maximum": "a number",
}
_NAME_RULES = {
    NAME.pattern: NAME_RULE,
    "^[A-Za-z0-9_.:-]{1,100}$": "use letters, digits, '_', '-', '.' and ':', 100 at most",
    "^[A-Za-z_][A-Za-z0-9_]{0,63}$": "use letters, digits and '_', not first a digit, 64 at most",
}


def _out_of_range(limits: dict[str, int], place: Place, given: Json) -> str:
    if place[-1] in ("timeout", "delay", "max_delay", "ttl", "succeeded", "failed", "for"):
        return f"must be {'longer than 0' if 'ge' in limits else 'no longer than 366d'}, and is {_short(given)}"
    word, limit = ("at least", limits["ge"]) if "ge" in limits else ("at most", limits["le"])
    return f"must be {word} {limit}, and is {_short(given)}"


def _odd_letter(text: str) -> str:
    """Letters that look like others, and those that nobody sees, by their number."""
    odd = next((letter for letter in text if not " " <= letter <= "~"), None)
    return f"; it has U+{ord(odd):04X}" if odd else ""


def _unknown_key(place: Place) -> str:
    model = _model_at(place[:-1])
    key = str(place[-1])
    if key == "<<":
        return "merge keys (`<<`) are no part of YAML 1.2; write the keys out"
    known = [field.alias or name for name, field in model.model_fields.items()]
    near = did_you_mean(key, known)
    return f"unknown key {key!r}{near or f'; known are {listed(known)}'}"


def _model_at(place: Place) -> type[BaseModel]:
    model: type[BaseModel] = Workflow
    for part in place:
        if isinstance(part, int):
            continue
        if part == "inputs" and model is Workflow:
            model = Input
        elif part in ("steps", "parallel", "on_failure", "finally"):
            model = Step
        elif part == "switch":
            model = Branch
        else:
            field = next((field for name, field in model.model_fields.items() if (field.alias or name) == part), None)
            nested = [field.annotation, *get_args(field.annotation)] if field else []
            model = next((kind for kind in nested if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return model


def _found(value: Json) -> str:
    if value is None:
        return "nothing"
    kinds = ((list, "a list"), (str, "text"), (bool, "true or false"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")


def _short(value: Json) -> str:
    text = repr(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else _kind(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Json) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return "a list" if isinstance(value, list) else "a mapping"
