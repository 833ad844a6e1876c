"""Agents declared in a YAML file instead of Python, and what the author of a kind of agents needs.

A kind is an entry point of the group `orchestrator.agent_kinds`: a function `(name, declaration) -> Agent`. Kinds are
found by name, so nothing of the engine imports one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from orchestrator.agents.agent import Agent
from orchestrator.errors import AgentsNotLoadable, Problem, WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.file_text import read_text
from orchestrator.workflow.loader import Place, in_words, place_of
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.spec import Model, Name, Timeout
from orchestrator.workflow.yaml_values import Lines, YamlMistake, read_yaml

__all__ = ["AgentDeclaration", "Declaration", "TaskName", "Timeout", "VariableName", "load_declared", "mistaken"]

Json = Any
Kind = Callable[[str, Mapping[str, Json]], Agent]
Mistake = tuple[Place, str]
TaskName = Name
#: The name of a variable of the environment.
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]

_GROUP = "orchestrator.agent_kinds"
_TOLD = "told"  # the type of a mistake whose message is final


class Declaration(Model):
    """A part of a declaration. Unknown keys are errors that name the near ones, types are not guessed."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_words(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            mistakes = [_reworded(cls, found) for found in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, mistakes) from None


class AgentDeclaration(Declaration):
    """What every kind accepts: `Agent` says what these mean."""

    capabilities: list[str] = Field(default_factory=list)
    concurrency: int = Field(2, ge=1)


def mistaken(title: str, mistakes: Iterable[Mistake]) -> ValidationError:
    """What a validator of a kind raises for mistakes in several places: each is told at its own place."""
    return ValidationError.from_exception_data(title, [_told(place, what) for place, what in mistakes])


def load_declared(source: str) -> list[Agent]:
    """The agents that a YAML file declares.

    Raises:
        AgentsNotLoadable: one line for each mistake of the file: `FILE:LINE: PLACE: what is wrong`.
    """
    try:
        text = read_text(Path(source), Settings().max_definition_bytes)
        document, lines = read_yaml(text)
    except WorkflowInvalid as error:  # what `read_text` says of a file that cannot be read
        raise AgentsNotLoadable(error.message) from None
    except YamlMistake as mistake:
        raise AgentsNotLoadable(str(Problem(source, mistake.line, "", mistake.message))) from None
    agents: list[Agent] = []
    mistakes: list[Mistake] = []
    for found in _agents(document):
        if isinstance(found, Agent):
            agents.append(found)
        else:
            mistakes.append(found)
    if mistakes:
        raise AgentsNotLoadable(_report(source, lines, mistakes))
    return agents


def _report(source: str, lines: Lines, mistakes: list[Mistake]) -> str:
    problems = [Problem(source, lines.line(place), ".".join(map(str, place)), what) for place, what in mistakes]
    return "\n".join(map(str, sorted(problems, key=lambda problem: problem.line)))


def _agents(document: Json) -> Iterator[Agent | Mistake]:
    if not isinstance(document, dict) or not isinstance(document.get("agents"), dict) or not document["agents"]:
        yield (), "a file of agents is a mapping with `agents:`, and under it a mapping from names to declarations"
        return
    yield from (((key,), _unknown_key(key, ["agents"])) for key in document if key != "agents")
    kinds = {point.name: point for point in entry_points(group=_GROUP)}
    for name, declaration in document["agents"].items():
        yield from _agent(name, declaration, kinds)


def _agent(name: str, declaration: Json, kinds: Mapping[str, EntryPoint]) -> Iterator[Agent | Mistake]:
    here: Place = ("agents", name)
    if not isinstance(declaration, dict) or not isinstance(declaration.get("kind"), str):
        yield here, f"an agent is a mapping with `kind:`, which is one of {listed(sorted(kinds))}"
        return
    kind = declaration["kind"]
    if kind not in kinds:
        near = did_you_mean(kind, kinds) or f"; there is {listed(sorted(kinds))}"
        yield (*here, "kind"), f"no kind {kind!r}{near}"
        return
    try:
        make: Kind = kinds[kind].load()
        yield make(name, {key: value for key, value in declaration.items() if key != "kind"})
    except ValidationError as error:
        yield from (((*here, *found["loc"]), found["msg"]) for found in error.errors(include_url=False))
    except AgentsNotLoadable as error:  # the name, which only `Agent` checks
        yield here, error.message
    except Exception as error:  # a kind's own code, which may come from anywhere
        yield (*here, "kind"), f"the kind {kind} does not work: {type(error).__name__}: {error}"


def _reworded(model: type[Declaration], found: Any) -> InitErrorDetails:
    place = place_of(found["loc"])
    if found["type"] == _TOLD:
        what = found["msg"]
    elif found["type"] == "extra_forbidden":
        what = _unknown_key(str(place[-1]), list(model.model_fields))
    else:
        what = in_words(found, place or (model.__name__,))
    return _told(place, what)


def _told(place: Place, what: str) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError(_TOLD, "{what}", {"what": what}), loc=place, input=None)


def _unknown_key(key: str, known: list[str]) -> str:
    return f"unknown key {key!r}{did_you_mean(key, known) or f'; known are {listed(known)}'}"
