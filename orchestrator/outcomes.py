"""What a handler may want: return `Done`, `Handoff` or a plain value, raise `RetryLater` or `Fatal`.

Outcomes are values the executor turns into one store transition; nothing here does anything by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import OrchestratorError


@dataclass(frozen=True, slots=True)
class Done:
    """The step is finished with this output. Returning a plain value means the same."""

    output: Any = None


@dataclass(frozen=True, slots=True)
class Handoff:
    """Another agent goes on with this step.

    Args:
        to: the agent, or `capability:NAME`.
        context: laid over the step's `with` values; a parameter named `context` gets all of it. JSON.
        task: the other agent's task; None: the one of the same name, or its only one.
    """

    to: str
    context: dict[str, Any] = field(default_factory=dict)
    task: str | None = None


class Fatal(OrchestratorError):
    """Retrying would not help: the step fails now, whatever its retry policy says."""


class RetryLater(OrchestratorError):
    """Try again, not before `after_s` seconds from now (for a Retry-After header, say)."""

    def __init__(self, message: str | None = None, *, after_s: float = 0.0) -> None:
        super().__init__(message, after_s=after_s)
