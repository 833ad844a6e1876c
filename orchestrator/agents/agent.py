"""`Agent` and its tasks: named functions whose input and output pydantic checks.

A decorated function stays the plain function it was, so it can be called and tested directly.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from orchestrator.agents.context import Context
from orchestrator.errors import AgentsNotLoadable, HandlerInputInvalid, HandlerOutputInvalid
from orchestrator.names import wrong_address, wrong_name
from orchestrator.outcomes import Done
from orchestrator.workflow.catalog import AgentInfo, TaskInfo

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class AgentTask:
    """One named function of an agent, with the checks its annotations ask for."""

    name: str
    fn: Callable[..., Any]
    is_async: bool
    context_parameter: str | None
    parameters: Mapping[str, str]
    input_model: type[BaseModel]
    output_type: TypeAdapter[Any] | None
    info: TaskInfo

    def check_input(self, values: Mapping[str, Any], *, show: bool = True) -> dict[str, Any]:
        """The handler's keyword arguments, as the types it declares.

        Args:
            show: whether an error may quote the value; not if there are secrets among them.
        Raises:
            HandlerInputInvalid: names every field that is missing, unknown or of the wrong type.
        """
        if self.context_parameter in values:
            raise HandlerInputInvalid(f"{self.context_parameter}: the handler's context is called like this")
        try:
            model = self.input_model.model_validate(values)
        except ValidationError as error:
            raise HandlerInputInvalid(_one_line(error, show)) from None
        arguments = {name: getattr(model, field) for name, field in self.parameters.items()}
        return arguments | (model.model_extra or {})

    def check_output(self, value: Any, *, show: bool = True) -> Any:
        """The returned value as JSON data, checked against the declared return type.

        Args:
            show: as for `check_input`.
        Raises:
            HandlerOutputInvalid: names the field that does not fit.
        """
        if self.output_type is None:
            return value
        try:
            return self.output_type.dump_python(self.output_type.validate_python(value), mode="json")
        except ValidationError as error:
            raise HandlerOutputInvalid(_one_line(error, show)) from None


@dataclass(frozen=True, slots=True)
class Ear:
    """A handler of messages."""

    fn: Callable[..., Any]
    is_async: bool
    context_parameter: str | None


class Agent:
    """A named group of tasks with a queue of its own.

    Args:
        name: `a-z`, `0-9`, `_` and `-`, a letter first, 63 at most; the queue is `agent.NAME`.
        capabilities: what a workflow may ask for instead of the name.
        concurrency: attempts that one worker runs at the same time; >= 1.
    """

    def __init__(self, name: str, *, capabilities: typing.Iterable[str] = (), concurrency: int = 2) -> None:
        if wrong := wrong_address(name):
            raise AgentsNotLoadable(f"agent name {name!r}: {wrong}")
        if concurrency < 1:
            raise AgentsNotLoadable(f"agent {name}: concurrency is {concurrency}, the least is 1")
        self.name = name
        self.capabilities = tuple(capabilities)
        self.concurrency = concurrency
        self.tasks: dict[str, AgentTask] = {}
        self.ears: dict[str | None, Ear] = {}

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, tasks={sorted(self.tasks)})"

    @overload
    def task(self, fn: F) -> F: ...
    @overload
    def task(self, *, name: str | None = None) -> Callable[[F], F]: ...
    def task(self, fn: F | None = None, *, name: str | None = None) -> F | Callable[[F], F]:
        """Make a function, sync or async, a task of this agent; its name is the function's unless given."""

        def register(function: F) -> F:
            task = _build_task(self.name, name or function.__name__, function)
            if task.name in self.tasks:
                raise AgentsNotLoadable(f"agent {self.name}: two tasks are named {task.name!r}")
            self.tasks[task.name] = task
            return function

        return register(fn) if fn is not None else register

    @overload
    def on_message(self, what: F) -> F: ...
    @overload
    def on_message(self, what: str | None = None) -> Callable[[F], F]: ...
    def on_message(self, what: F | str | None = None) -> F | Callable[[F], F]:
        """Make a function, sync or async, the handler of messages: of one type, or of all that have none of their own.

        It takes the message and, if it names a parameter `ctx`, the context. A value it returns is the reply.
        """
        wanted = str(what).lower() if isinstance(what, str) else None

        def register(function: F) -> F:
            if wanted in self.ears:
                raise AgentsNotLoadable(f"agent {self.name}: two handlers for {wanted or 'all messages'}")
            self.ears[wanted] = _build_ear(self.name, function)
            return function

        return register(what) if callable(what) else register

    def ear(self, message_type: str) -> Ear | None:
        """The handler for messages of a type."""
        return self.ears.get(str(message_type)) or self.ears.get(None)

    @property
    def info(self) -> AgentInfo:
        """What the registry and the compiler know of the agent."""
        return AgentInfo(
            name=self.name,
            capabilities=self.capabilities,
            tasks=tuple(task.info for task in self.tasks.values()),
            hears=bool(self.ears),
        )


def _build_ear(agent: str, fn: Callable[..., Any]) -> Ear:
    parameters = list(inspect.signature(fn).parameters.values())
    hints = _hints(f"message handler of agent {agent}", fn)
    context = next((p.name for p in parameters if p.name == "ctx" or hints.get(p.name) is Context), None)
    others = [p for p in parameters if p.name != context and p.default is p.empty]
    if len(others) != 1 or others[0].kind is others[0].KEYWORD_ONLY:
        raise AgentsNotLoadable(f"agent {agent}: a message handler takes the message, and a context if it wants one")
    return Ear(fn, inspect.iscoroutinefunction(fn), context)


def _hints(where: str, fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except NameError as error:
        raise AgentsNotLoadable(f"{where}: an annotation cannot be read: {error}") from None


def _build_task(agent: str, name: str, fn: Callable[..., Any]) -> AgentTask:
    where = f"task {agent}.{name}"
    if wrong := wrong_name(name):
        raise AgentsNotLoadable(f"agent {agent}, task name {name!r}: {wrong}")
    hints = _hints(where, fn)
    context = None
    fields: dict[str, Any] = {}
    parameters: dict[str, str] = {}
    required: dict[str, bool] = {}
    accepts_any = False
    for parameter in inspect.signature(fn).parameters.values():
        annotation = hints.get(parameter.name, Any)
        if parameter.name == "ctx" or annotation is Context:
            context = parameter.name
        elif parameter.kind is parameter.VAR_KEYWORD:
            accepts_any = True
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise AgentsNotLoadable(f"{where}: parameter {parameter.name!r} cannot be given by name")
        else:
            # Fields get names of our own and the parameter's as alias: a parameter may be called `copy` or `schema`.
            default = ... if parameter.default is parameter.empty else parameter.default
            parameters[parameter.name] = f"p{len(parameters)}"
            required[parameter.name] = default is ...
            fields[parameters[parameter.name]] = (annotation, Field(default, alias=parameter.name))
    try:
        config = ConfigDict(extra="allow" if accepts_any else "forbid", arbitrary_types_allowed=False)
        model = create_model(f"{name}_input", __config__=config, **fields)
        output = _output_type(hints.get("return", Any))
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, TypeError) as error:
        raise AgentsNotLoadable(f"{where}: {str(error).splitlines()[0]}") from None
    info = TaskInfo(
        name=name,
        params=required,
        accepts_any=accepts_any,
        input_schema=_schema(model.model_json_schema),
        output_schema=_schema(output.json_schema if output else None),
    )
    return AgentTask(name, fn, inspect.iscoroutinefunction(fn), context, parameters, model, output, info)


def _output_type(declared: Any) -> TypeAdapter[Any] | None:
    """The check for a return type. `Done` says nothing of what is in it; `Done | X` means X."""
    if typing.get_origin(declared) in (typing.Union, types.UnionType):
        rest = tuple(part for part in typing.get_args(declared) if part is not Done)
        declared = typing.Union[rest]  # noqa: UP007
    return None if declared is Any or declared is Done else TypeAdapter(declared)


def _schema(make: Callable[[], dict[str, Any]] | None) -> dict[str, Any] | None:
    try:
        return make() if make else None
    except Exception:  # a type may have no JSON Schema and still be checked at run time
        return None


def _one_line(error: ValidationError, show: bool) -> str:
    parts = []
    for problem in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in problem["loc"]) or "value"
        absent = problem["type"] in ("missing", "extra_forbidden")
        seen = "" if absent or not show else f" (it is {type(problem['input']).__name__} {_short(problem['input'])})"
        parts.append(f"{place}: {problem['msg'][:1].lower()}{problem['msg'][1:]}{seen}")
    return "; ".join(parts)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
