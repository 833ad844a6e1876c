"""Moving agents over from tmux windows: each message both ways, a report, cut-over and roll-back per agent.

The route of an agent says where its messages go: `tmux` (into its window only), `shadow` (to its inbox, and a copy into
the window), `bus` (to its inbox only). The copies are messages to the agent `tmux`, which pastes them, so both ways are
tracked in the same manner.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import quantiles
from typing import Any

from orchestrator.agents.post import SHADOW, TMUX, PostOffice
from orchestrator.errors import MessageInvalid, MigrationRefused
from orchestrator.records import MessageRecord
from orchestrator.states import MessageState

Json = Any


class Route(StrEnum):
    """Where the messages of an agent go."""

    TMUX = "tmux"
    SHADOW = "shadow"
    BUS = "bus"


@dataclass(frozen=True, slots=True)
class Path:
    """How one way did: counts, and latency from sent to acknowledged in ms (50th and 95th percentile)."""

    sent: int = 0
    delivered: int = 0
    acknowledged: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """One agent's report. `parity` is the share of the shadowed messages that were acknowledged on the bus."""

    agent: str
    mode: Route
    window: str
    tmux: Path
    bus: Path
    parity: float


class Migration:
    """The routes of one installation."""

    def __init__(self, office: PostOffice) -> None:
        self._office = office
        self._client: Any = office.inbox.client
        self._doors = office.inbox.keys.doors

    def begin(self, agent: str, window: str, socket: str | None = None) -> None:
        """Make an agent known that lives in a window; its messages go there only.

        Raises:
            MessageInvalid: the window is not SESSION:WINDOW.
        """
        session, colon, name = window.partition(":")
        if not (session and colon and name):
            raise MessageInvalid(f"window: {window!r} is none; write SESSION:WINDOW", field="window")
        for name in (agent, TMUX):
            self._office.directory.register(name)
        self._set(agent, {"mode": Route.TMUX, "window": window, "socket": socket})

    def shadow(self, agent: str) -> None:
        """From now on every message goes both ways. Raises MigrationRefused: `begin` first."""
        self._change(agent, Route.SHADOW)

    def cut_over(self, agent: str) -> None:
        """From now on messages go to the inbox only. Raises MigrationRefused: parity is below 100 % or unknown."""
        report = self._report(agent, self._route(agent))
        if report.bus.sent == 0 or report.parity < 1:
            raise MigrationRefused(
                f"agent {agent} has {report.parity:.0%} parity over {report.bus.sent} shadowed messages; it needs 100 %"
            )
        self._change(agent, Route.BUS)

    def roll_back(self, agent: str) -> None:
        """Back to the window only."""
        self._change(agent, Route.TMUX)

    def report(self) -> list[Parity]:
        """Every agent that is moved over."""
        return [self._report(agent, route) for agent, route in sorted(self._routes().items())]

    def decommission(self) -> list[str]:
        """Forget the windows. Returns the agents. Raises MigrationRefused: one is not cut over, or lacks parity."""
        found = self.report()
        late = [one.agent for one in found if one.mode is not Route.BUS or one.parity < 1]
        if late or not found:
            what = f"not at 100 % parity and cut over: {', '.join(late)}" if late else "no agent was moved over"
            raise MigrationRefused(f"tmux cannot be given up: {what}")
        self._client.hdel(self._doors, *(f"route {one.agent}" for one in found))
        return [one.agent for one in found]

    # --- inside ----------------------------------------------------------------------------------------------

    def _routes(self) -> dict[str, dict[str, Json]]:
        found = self._client.hgetall(self._doors)
        return {name.removeprefix("route "): json.loads(text) for name, text in found.items() if name[:6] == "route "}

    def _route(self, agent: str) -> dict[str, Json]:
        text = self._client.hget(self._doors, f"route {agent}")
        if text is None:
            raise MigrationRefused(f"agent {agent} has no window; `orchestrator migrate begin {agent} --window S:W`")
        route: dict[str, Json] = json.loads(text)
        return route

    def _change(self, agent: str, mode: Route) -> None:
        self._set(agent, {**self._route(agent), "mode": mode})

    def _set(self, agent: str, route: dict[str, Json]) -> None:
        self._client.hset(self._doors, f"route {agent}", json.dumps(route))

    def _report(self, agent: str, route: dict[str, Json]) -> Parity:
        inbox = self._office.inbox
        copies = inbox.thread(f"{SHADOW}{agent}")
        mains = inbox.read_many([copy.message.metadata["shadow_of"] for copy in copies])
        bus = _path(mains)
        parity = bus.acknowledged / len(copies) if copies else 0.0
        return Parity(agent, Route(route["mode"]), route["window"], _path(copies), bus, parity)


def _path(records: Sequence[MessageRecord]) -> Path:
    good = [record for record in records if record.state is MessageState.ACKNOWLEDGED]
    took = sorted(float((r.finished_at or 0) - r.message.created_at) for r in good)
    path = Path(len(records), sum(record.delivered_at is not None for record in records), len(good))
    if not took:
        return path
    cuts = quantiles(took, n=100, method="inclusive") if len(took) > 1 else took * 99
    return replace(path, p50_ms=cuts[49], p95_ms=cuts[94])
