"""What a handler may want: return `Done` or a plain value, raise `RetryLater` or `Fatal`.

Outcomes are values the executor turns into one store transition; nothing here does anything by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.errors import OrchestratorError


@dataclass(frozen=True, slots=True)
class Done:
    """The step is finished with this output. Returning a plain value means the same."""

    output: Any = None


class Fatal(OrchestratorError):
    """Retrying would not help: the step fails now, whatever its retry policy says."""


class RetryLater(OrchestratorError):
    """Try again, not before `after_s` seconds from now (for a Retry-After header, say)."""

    def __init__(self, message: str | None = None, *, after_s: float = 0.0) -> None:
        super().__init__(message, after_s=after_s)
