"""The YAML schema: what a workflow file may say. Whether it makes sense together is for the compiler to check."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from orchestrator.messages import LONGEST_MS
from orchestrator.names import NAME, wrong_address
from orchestrator.workflow.template import shorten
from orchestrator.workflow.times import parse_duration

Json = Any

PRIORITIES = ("low", "medium", "high", "urgent", "emergency")
Priority = Literal["low", "medium", "high", "urgent", "emergency"]
RunIf = Literal["none_failed", "all_success", "any_success", "all_done", "always"]


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _wait_for(value: Any) -> Any:
    if isinstance(value, str) and "${{" in value:
        return value
    if (found := parse_duration(value)) > LONGEST_MS:
        raise ValueError(f"must be no longer than 366d, and is {value!r}")
    return found


def _rate(value: Any) -> Any:
    found = re.fullmatch(r"([0-9]{1,15})/(.{1,30})", value) if isinstance(value, str) else None
    if not found or int(found[1]) < 1 or parse_duration(found[2]) < 1:
        raise ValueError(f"{shorten(repr(value), 60)} is no rate; write it as 60/1m or 5/1s")
    starts, time_ms = int(found[1]), parse_duration(found[2])
    if starts > MAX_STARTS or time_ms > LONGEST_MS:
        raise ValueError(f"must be at most {MAX_STARTS:,} in at most 366d, and is {value!r}")
    return starts, time_ms


def _address(value: str) -> str:
    if wrong := wrong_address(value):
        raise ValueError(wrong)
    return value


MAX_STARTS = 1_000_000
SIGNAL_NAME = re.compile(r"^[A-Za-z0-9_.:-]{1,100}$")
#: Milliseconds, written `500ms 30s 5m 24h 7d`.
Duration = Annotated[int, BeforeValidator(parse_duration), Field(le=LONGEST_MS)]
#: A time-out: a duration that is not zero.
Timeout = Annotated[int, BeforeValidator(parse_duration), Field(ge=1, le=LONGEST_MS)]
#: A duration, or an expression that gives one.
WaitFor = Annotated[int | str, BeforeValidator(_wait_for)]
#: (starts, in so many milliseconds), written `60/1m`.
Rate = Annotated[tuple[int, int], BeforeValidator(_rate)]
#: A step, or an agent's task.
Name = Annotated[str, Field(pattern=NAME.pattern)]
#: An agent, or a workflow.
Address = Annotated[Name, AfterValidator(_address)]


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


class Loop(Model):
    """Rounds of `steps`: until a condition holds, at most so many."""

    until: str | bool
    max_iterations: int = Field(ge=1, le=100_000)
    delay: Duration = 0


class Wait(Model):
    """What a step sleeps for: a signal, a duration, or a time (RFC 3339). `timeout` belongs to a signal."""

    signal: Annotated[str, Field(pattern=SIGNAL_NAME.pattern)] | None = None
    for_: WaitFor | None = Field(None, alias="for")
    until: str | None = None
    timeout: Timeout | None = None
    on_timeout: Literal["fail", "continue"] | None = None


class End(Model):
    """The run ends here, whatever else of it runs or waits."""

    status: Literal["succeeded", "failed"]
    message: str | None = None


class Branch(Model):
    """One branch of a `switch`: its condition, or `default: true`."""

    when: str | bool | None = None
    default: Literal[True] | None = None
    steps: list[Step] = Field(min_length=1)
    description: str | None = None


class Fallback(Model):
    """Who takes the step over when it has failed for good."""

    agent: Address
    task: Name | None = None


class Compensation(Model):
    """What undoes a step that succeeded, when the run fails or is cancelled."""

    agent: Address | None = None
    capability: str | None = None
    task: Name | None = None
    with_: dict[str, Json] | None = Field(None, alias="with")
    retry: RetryPolicy | None = None
    timeout: Timeout | None = None


class Cache(Model):
    """An output is taken over from an earlier attempt with the same key, of any run."""

    key: str
    ttl: Timeout


class Limit(Model):
    """What all workers together keep to: so many starts in a time (`rate: 60/1m`), or so many at once (`max`)."""

    key: str = Field(min_length=1)
    rate: Rate | None = None
    max: int | None = Field(None, ge=1)


class Step(Model):
    """One entry of `steps`. Which keys it has says what it is: an agent's task, a `foreach`, a `set`, a `parallel`."""

    id: Name | None = None
    agent: Address | None = None
    capability: str | None = None
    task: Name | None = None
    workflow: str | None = Field(None, min_length=1)
    with_: dict[str, Json] | None = Field(None, alias="with")
    needs: list[str] | None = None
    when: str | bool | None = None
    run_if: RunIf | None = None
    foreach: str | list[Json] | None = None
    max_parallel: int | None = Field(None, ge=1)
    on_item_error: Literal["fail", "collect", "skip"] | None = None
    enough: int | None = Field(None, ge=1)
    rest: Literal["cancel", "finish"] | None = None
    retry: RetryPolicy | None = None
    timeout: Timeout | None = None
    on_error: Literal["fail", "continue"] | None = None
    fallback: Fallback | None = None
    compensate: Compensation | None = None
    priority: Priority | None = None
    limits: list[Limit] | None = None
    cache: Cache | None = None
    output_schema: dict[str, Json] | None = None
    set: dict[str, Json] | None = None
    wait: Wait | None = None
    end: End | None = None
    parallel: list[Step] | None = Field(None, min_length=1)
    switch: list[Branch] | None = Field(None, min_length=1)
    loop: Loop | None = None
    steps: list[Step] | None = Field(None, min_length=1)
    description: str | None = None


class Idempotency(Model):
    """Runs with the same key are one run."""

    key: str
    ttl: Timeout = 86_400_000
    on_duplicate: Literal["return_existing", "reject"] = "return_existing"


class Concurrency(Model):
    """How many runs with the same key go on at a time, on all machines together."""

    key: str
    max_runs: int = Field(1, ge=1)
    on_limit: Literal["queue", "reject", "cancel_oldest"] = "queue"


class Schedule(Model):
    """When the workflow starts by itself."""

    cron: str
    timezone: str = "UTC"
    inputs: dict[str, Json] = {}
    overlap: Literal["skip", "allow", "queue"] = "skip"
    catchup: Literal["none", "latest", "all"] = "latest"


class Retention(Model):
    """How long a run is kept after its end."""

    succeeded: Timeout | None = None
    failed: Timeout | None = None


class Expectation(Model):
    """What a test of the file expects: to succeed, unless it says otherwise. What else is left out is not looked at."""

    status: Literal["succeeded", "failed", "cancelled"] | None = None
    outputs: dict[str, Json] | None = None
    skipped: list[str] | None = None
    ran: list[str] | None = None


class Case(Model):
    """One test of the file, for `orchestrator test`: what the agents answer, and what shall come of it."""

    name: str
    inputs: dict[str, Json] = {}
    mock: dict[str, Json] = {}
    signals: dict[str, Json] = {}
    expect: Expectation


class Workflow(Model):
    """A whole file."""

    name: Address
    version: Annotated[str, BeforeValidator(_text)] = ""
    description: str | None = None
    inputs: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")], Input] = {}
    priority: Priority = "medium"
    timeout: Timeout | None = None
    idempotency: Idempotency | None = None
    concurrency: Concurrency | None = None
    schedule: Schedule | None = None
    retention: Retention = Retention()
    defaults: Defaults = Defaults()
    steps: list[Step] = Field(min_length=1)
    outputs: dict[str, Json] | None = None
    on_failure: list[Step] = []
    finally_: list[Step] = Field([], alias="finally")
    tests: list[Case] = []
