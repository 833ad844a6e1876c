"""`Report`: what an audit has found, as it is printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.records import rfc3339
from orchestrator.store.audit.looking import Finding, Part

Json = Any
Progress = Callable[[str, int], None]  # (what, how many more of it have been looked at)


@dataclass(slots=True)
class Tally:
    """Where the runs, the steps or the messages are. `unaccounted`: lost, or nothing moves them on."""

    queued: int = 0
    leased: int = 0
    waiting: int = 0
    terminal: int = 0
    unaccounted: int = 0

    @property
    def accepted(self) -> int:
        return self.queued + self.leased + self.waiting + self.terminal + self.unaccounted

    def add(self, part: Part, n: int = 1) -> None:
        if part:
            setattr(self, part, getattr(self, part) + n)

    def to_json(self) -> dict[str, int]:
        """`{accepted, queued, leased, waiting, terminal, unaccounted}`."""
        return {"accepted": self.accepted, **{name: getattr(self, name) for name in self.__slots__}}


@dataclass(slots=True)
class Report:
    """What an audit has found. Steps are those that a run has come to.

    `expired`: ids that ended, as a journal tells, and whose records are gone. `untold`: ids so old that their records
    may have expired, and of whose end nothing tells. `founded_ms`: since when this database holds what it holds.
    """

    at_ms: int
    runs: Tally = field(default_factory=Tally)
    steps: Tally = field(default_factory=Tally)
    messages: Tally = field(default_factory=Tally)
    expired: int = 0
    untold: int = 0
    founded_ms: int | None = None
    quarantine: int = 0
    took_ms: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings

    def to_json(self) -> dict[str, Json]:
        """As `orchestrator audit --json` prints it."""
        tallies = {name: getattr(self, name).to_json() for name in ("runs", "steps", "messages")}
        return {
            "ok": self.ok, "at": rfc3339(self.at_ms), "took_ms": self.took_ms, **tallies, "expired": self.expired,
            "untold": self.untold, "quarantine": self.quarantine, "founded_at": rfc3339(self.founded_ms),
            "findings": [{"about": one.about, "id": one.id, "problem": one.problem} for one in self.findings],
        }  # fmt: skip
