"""What is known of a run while it is followed: an entry for each step, and for what goes on inside a `foreach`.

`progress.py` makes them of events, `tree.py` lines of them. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.states import StepState
from orchestrator.workflow.plan import PlanStep


@dataclass(slots=True)
class Item:
    """An item of a `foreach`: the entries of what has come up in it, by id in the plan. `done` counts its own steps."""

    entries: dict[str, Entry] = field(default_factory=dict)
    done: int = 0


@dataclass(slots=True)
class Items:
    """Those of a `foreach`: `live` are not over, `bad` are the first that failed."""

    count: int = 0
    done: int = 0
    failed: int = 0
    live: dict[int, Item] = field(default_factory=dict)
    bad: dict[int, Item] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Entry:
    """One step, or the only step of an item, as far as it is known. Times are milliseconds by the server's clock.

    `retried`: the attempt has failed and is tried again. `due_at` is when a step that waits goes on by itself, which
    its events do not tell; None: not known, or never. `rounds` is how many rounds of a loop have begun, `items` None
    until a `foreach` has opened. `times` is how often a compensation has run: it has one entry for all items or rounds.
    """

    id: str
    step: PlanStep
    state: StepState = StepState.PENDING
    attempt: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    fraction: float | None = None
    note: str = ""
    retried: bool = False
    due_at: int | None = None
    hands: str | None = None
    rounds: int | None = None
    times: int = 0
    items: Items | None = None

    @property
    def name(self) -> str:
        """`planner.plan`, or the kind of a step that no agent runs."""
        return self.hands or (self.step.name if self.step.agent else self.step.kind)

    @property
    def awaits_signal(self) -> bool:
        """Whether somebody has to do something. Of what waits for a time, the event says nothing."""
        return self.state is StepState.WAITING and self.step.kind == "wait" and bool(self.note)
