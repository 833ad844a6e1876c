"""Every setting of the engine, its unit and its default. Each one has an environment variable `ORCHESTRATOR_<NAME>`.

`Settings.load()` also reads `celeryconfig.py` in the working directory, as any Celery project has one: a `broker_url`
there names the server (of RabbitMQ: the broker) unless the environment does, the rest is laid over the Celery defaults
of `runtime/`.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from orchestrator.crashpoints import parse
from orchestrator.errors import SettingsInvalid
from orchestrator.identity import read_key
from orchestrator.tracing import installed

Durability = Literal["always", "everysec"]

URL_SCHEMES = ("redis://", "rediss://", "redis+socket://", "unix://", "sentinel://")
DEFAULT_PREFIX = "o:"
AMQP_SCHEMES = ("amqp://", "amqps://")  # RabbitMQ, which can only be the broker
_PREFIX = re.compile(r"[A-Za-z0-9_.:{}-]{1,64}")
_PASSWORD = re.compile(r"(://([^:/@]*)):(?:(?!;\w+://).)*@")  # not beyond the beginning of another URL
_QUERY_PASSWORD = re.compile(r"([?&]\w*password=)[^&;]*")


class Settings(BaseSettings):
    """The settings of one process; frozen."""

    model_config = SettingsConfigDict(env_prefix="ORCHESTRATOR_", frozen=True, extra="ignore")

    home: Path = Field(Path(".orchestrator"), description="state folder of the embedded server")
    url: str | None = Field(None, description="server that keeps the state; none: the embedded one")
    durability: Durability | None = Field(
        None,
        description="`always`, `everysec`: the server syncs at every write, or once a second;"
        " none: `everysec` of the embedded one, `always` of another one",
    )
    allow_weak_server: bool = Field(False, description="start workers on a server whose settings can lose work")
    broker_url: str | None = Field(None, description="broker of the Celery messages; none: the same server")
    agents: Annotated[tuple[str, ...], NoDecode] = Field(
        ("workers",), description="files, folders or modules that define agents, separated by commas"
    )
    prefix: str = Field(
        DEFAULT_PREFIX, description="what every key of the store starts with; teams that share a server each have one"
    )
    lease_s: float = Field(10.0, gt=0, description="seconds a worker holds a step; heartbeats every third of it")
    max_losses: int = Field(3, ge=1, description="lost workers after which a step fails")
    deadline_s: float = Field(5.0, gt=0, description="seconds until a command gives up on the server")
    retention_s: int = Field(7 * 86400, ge=1, description="seconds a finished run is kept")
    idempotency_ttl_s: int = Field(86400, ge=1, description="seconds an idempotency key is remembered")
    window: int = Field(4, ge=1, le=20, description="steps in one chain; docs/decisions/0001 has the figures")
    chord_width: int = Field(100, ge=0, description="widest fan sent as one chord; docs/decisions/0001")
    max_definition_bytes: int = Field(1 << 20, ge=1, description="bytes of one workflow file")
    max_steps: int = Field(10_000, ge=1, description="steps of one workflow")
    max_workflow_depth: int = Field(10, ge=1, description="workflows that run workflows that run workflows")
    max_nesting: int = Field(32, ge=1, description="containers inside containers")
    max_inputs_bytes: int = Field(1 << 20, ge=1, description="bytes of the inputs of one run")
    max_output_bytes: int = Field(8 << 20, ge=1, description="bytes of the output of one step")
    max_expression_bytes: int = Field(4096, ge=1, le=8192, description="bytes of one expression")
    max_expression_s: float = Field(1.0, gt=0, description="seconds one expression may take")
    max_foreach_items: int = Field(100_000, ge=1, description="items of one foreach")

    max_message_bytes: int = Field(1 << 20, ge=1, description="bytes of the body of one message")
    message_timeout_s: float | None = Field(
        None, gt=0, description="seconds a handler of a message may take; none: as long as its process lives"
    )
    message_retention_s: int = Field(86400, ge=1, description="seconds a finished message is kept; dead ones stay")
    max_broadcast: int = Field(1000, ge=1, description="recipients of one broadcast")
    conversation_rate: int = Field(
        100, ge=1, description="messages a minute of one conversation; those beyond are delivered later"
    )
    key_file: Path | None = Field(
        None, description="file with the key that messages are signed with; none: they are not signed"
    )
    replay_window_s: int | None = Field(
        None, ge=1, description="seconds a signature holds, what waits longer expires; none: `message_retention_s`"
    )
    offer_s: float = Field(300.0, gt=0, description="seconds until a handoff that nobody accepts goes back")
    inbox_lease_s: float = Field(60.0, gt=0, description="seconds a message read with `inbox` waits for its ack")
    journal_events: int = Field(100_000, ge=100, description="entries of the journal that are kept, roughly")

    log_format: Literal["text", "json"] = Field(
        "text", description="`text`, `json`: how `worker`, `up` and `run` write their log"
    )
    log_lines: int = Field(2000, ge=0, description="lines that are kept of what the handlers of a run log; 0: none")

    traces: Literal["on", "off"] | None = Field(
        None, description="`on`, `off`: OpenTelemetry spans; none: where an SDK is set up"
    )

    crashpoint: str | None = Field(None, description="for tests: where a process kills itself; crashpoints.py")

    celery: dict[str, Any] = Field(default_factory=dict, exclude=True, description="from celeryconfig.py")

    @field_validator("agents", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("prefix")
    @classmethod
    def _is_plain(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value):  # it stands in patterns of keys, and in the accounts of a server
            raise ValueError("is no row of 1 to 64 letters, digits and _ . : - { }")
        return value

    @field_validator("crashpoint")
    @classmethod
    def _known_crashpoint(cls, value: str | None) -> str | None:
        if value:
            parse(value)
        return value or None

    @field_validator("key_file")
    @classmethod
    def _holds_a_key(cls, value: Path | None) -> Path | None:
        if value is not None:
            value = value.expanduser()
            read_key(value)
        return value

    @field_validator("replay_window_s")
    @classmethod
    def _is_remembered(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value > info.data.get("message_retention_s", value):
            raise ValueError("is above ORCHESTRATOR_MESSAGE_RETENTION_S: what is forgotten could be sent again")
        return value

    @field_validator("traces")
    @classmethod
    def _installed(cls, value: str | None) -> str | None:
        if value == "on" and not installed():
            raise ValueError("needs OpenTelemetry: pip install 'agent-orchestrator[otel]'")
        return value

    @field_validator("url", "broker_url")
    @classmethod
    def _known_scheme(cls, value: str | None, info: ValidationInfo) -> str | None:
        schemes = URL_SCHEMES + (AMQP_SCHEMES if info.field_name == "broker_url" else ())
        if value is not None and not value.startswith(schemes):
            raise ValueError(f"starts with none of {', '.join(schemes)}")
        return value

    @classmethod
    def load(cls, **overrides: Any) -> Settings:
        """Read the environment and the working directory's `celeryconfig.py`.

        Raises:
            SettingsInvalid: one line that names the variable or the file.
        """
        celery = _celeryconfig(Path("celeryconfig.py"))
        try:
            settings = cls(celery=celery, **overrides)
            broker = celery.get("broker_url")
            for name, schemes in (("url", URL_SCHEMES), ("broker_url", AMQP_SCHEMES)):
                if getattr(settings, name) is None and isinstance(broker, str) and broker.startswith(schemes):
                    settings = cls(celery=celery, **{**overrides, name: broker})
        except ValidationError as error:
            first = error.errors()[0]
            name = "ORCHESTRATOR_" + "_".join(str(part) for part in first["loc"]).upper()
            raise SettingsInvalid(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None
        return settings

    @property
    def embedded(self) -> bool:
        """Whether the state lives in the private server of the state folder."""
        return self.url is None

    @property
    def wanted_durability(self) -> Durability:
        """What is done to the embedded server, and asked of another one."""
        return self.durability or ("everysec" if self.embedded else "always")


def mask_password(url: str) -> str:
    """The URL, or several behind semicolons, with its passwords replaced, fit for a log or an error: `redis://***@host`.

    A password goes as far as the last `@`, also where it holds what no URL may hold.
    """
    masked = _PASSWORD.sub(lambda found: f"{found[1]}:***@" if found[2] else "://***@", url)
    return _QUERY_PASSWORD.sub(r"\1***", masked)


def _celeryconfig(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = runpy.run_path(str(path))
    except Exception as error:
        raise SettingsInvalid(f"{path}: {type(error).__name__}: {error}") from error
    return {
        name: value
        for name, value in found.items()
        if name.islower() and not name.startswith("_") and not callable(value) and not isinstance(value, ModuleType)
    }
