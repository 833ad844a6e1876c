"""The YAML schema: what a workflow file may say. Whether it makes sense together is for the compiler to check."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Json = Any

PRIORITIES = ("low", "medium", "high", "urgent", "emergency")
Priority = Literal["low", "medium", "high", "urgent", "emergency"]
RunIf = Literal["none_failed", "all_success", "any_success", "all_done", "always"]
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

#: Words of the language that this version does not know how to run yet, by the model they belong to.
LATER = {
    "Workflow": {"on_failure", "finally", "idempotency", "concurrency", "limits", "schedule", "retention", "tests"},
    "Step": {"loop", "switch", "wait", "workflow", "compensate", "fallback", "output_schema", "cache", "limits"},
    "Branch": set(),
}


def _duration(value: Any) -> int:
    found = re.fullmatch(r"([0-9]+)(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if not found:
        bare = isinstance(value, int) and not isinstance(value, bool) and value > 0
        hint = f"write {value}s" if bare else "write it as 500ms, 30s, 5m, 24h or 7d"
        raise ValueError(f"{value!r} is no duration; {hint}")
    return int(found[1]) * _UNITS_MS[found[2]]


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


#: Milliseconds, written `500ms 30s 5m 24h 7d`.
Duration = Annotated[int, BeforeValidator(_duration), Field(le=366 * 86_400_000)]
#: A time-out: a duration that is not zero.
Timeout = Annotated[int, BeforeValidator(_duration), Field(ge=1, le=366 * 86_400_000)]
StepId = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]


class Model(BaseModel):
    """What all parts of a file share: unknown keys are errors, types are not guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False)


class RetryPolicy(Model):
    """How often and how soon a failed attempt is repeated."""

    max_attempts: int = Field(1, ge=1, le=1000)
    delay: Duration = 1000
    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    max_delay: Duration | None = None
    jitter: bool = False
    give_up_on: list[str] = []


class Defaults(Model):
    """What holds for every step that does not say otherwise."""

    retry: RetryPolicy | None = None
    timeout: Timeout | None = None


class Input(Model):
    """One input, in the words of JSON Schema. Without a default it is required."""

    type: Literal["string", "integer", "number", "boolean", "array", "object", "any"] = "any"
    default: Json = None
    enum: list[Json] | None = Field(None, min_length=1)
    minimum: float | int | None = None
    maximum: float | int | None = None
    min_length: int | None = Field(None, ge=0)
    max_length: int | None = Field(None, ge=0)
    pattern: str | None = None
    description: str | None = None

    @property
    def required(self) -> bool:
        return "default" not in self.model_fields_set


class Step(Model):
    """One entry of `steps`. Which keys it has says what it is: an agent's task, a `foreach`, a `set`, a `parallel`."""

    id: StepId | None = None
    agent: str | None = None
    capability: str | None = None
    task: str | None = None
    with_: dict[str, Json] | None = Field(None, alias="with")
    needs: list[str] | None = None
    when: str | bool | None = None
    run_if: RunIf | None = None
    foreach: str | list[Json] | None = None
    max_parallel: int | None = Field(None, ge=1)
    on_item_error: Literal["fail", "collect", "skip"] | None = None
    retry: RetryPolicy | None = None
    timeout: Timeout | None = None
    on_error: Literal["fail", "continue"] | None = None
    priority: Priority | None = None
    set: dict[str, Json] | None = None
    parallel: list[Step] | None = Field(None, min_length=1)
    steps: list[Step] | None = Field(None, min_length=1)
    description: str | None = None


class Workflow(Model):
    """A whole file."""

    name: str = Field(pattern=r"^[a-z0-9-]{1,100}$")
    version: Annotated[str, BeforeValidator(_text)] = ""
    description: str | None = None
    inputs: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")], Input] = {}
    priority: Priority = "medium"
    timeout: Timeout | None = None
    defaults: Defaults = Defaults()
    steps: list[Step] = Field(min_length=1)
    outputs: dict[str, Json] | None = None
