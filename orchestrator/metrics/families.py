"""The families of metrics: name, kind, labels, help. Dashboard, alert rules and docs name these and no others.

A label is a name out of workflows and agents, or one of a few words; never an id.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from orchestrator.store.figures import Figures
from orchestrator.store.load import AgentLoad, Waiting
from orchestrator.store.sums import BOUNDS_MS, Spread

PREFIX = "orchestrator_"
#: What a series stands at: a number, or a histogram.
Value = float | Spread
Series = tuple[tuple[str, ...], Value]


@dataclass(frozen=True, slots=True)
class Family:
    """One family. `bounds_ms`: of a histogram."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return PREFIX + self.name

    @property
    def bounds_ms(self) -> tuple[int, ...]:
        return BOUNDS_MS[self.name]

    @property
    def bounds(self) -> list[str]:
        """As the label `le` has them, the infinite one last."""
        return [*(repr(bound / 1000) for bound in self.bounds_ms), "+Inf"]


#: By agent and priority: what of it is shown.
QUEUES: dict[Family, Callable[[Waiting], float]] = {
    Family(name, "gauge", text, ("agent", "priority")): shown
    for name, text, shown in (
        ("queue_depth", "Steps, messages and handoffs that nobody has begun.", lambda waiting: waiting.count),
        ("waiting_steps", "Steps that nobody has begun.", lambda waiting: waiting.steps),
        ("waiting_messages", "Messages that nobody has begun.", lambda waiting: waiting.messages),
        ("waiting_handoffs", "Handoffs that nobody has accepted.", lambda waiting: waiting.handoffs),
        (
            "oldest_waiting_seconds",
            "How long the oldest of them has waited; 0: none.",
            lambda waiting: waiting.oldest_ms / 1000,
        ),
    )
}
AGENTS: dict[Family, Callable[[AgentLoad], float]] = {
    Family("running", "gauge", "Steps and messages that are worked on.", ("agent",)): lambda load: load.running,
    Family("workers_online", "gauge", "Workers that serve the agent now.", ("agent",)): lambda load: len(load.workers),
}
SERVER: dict[Family, Callable[[Figures], float | None]] = {
    Family("dead_letters", "gauge", "Messages that failed for good, until they are replayed or purged."): (
        lambda figures: figures.dead_letters
    ),
    Family("keeper_lag_seconds", "gauge", "How long what is due longest is overdue: a retry, a lease, a wait."): (
        lambda figures: figures.keeper_lag_ms / 1000
    ),
    Family("server_memory_bytes", "gauge", "Memory that the server has taken."): (lambda figures: figures.memory_bytes),
    Family("server_memory_limit_bytes", "gauge", "Memory that the server may take; 0: no limit."): (
        lambda figures: None if figures.memory_bytes is None else figures.memory_limit_bytes
    ),
    Family("uncounted_entries", "gauge", "Entries of the journal that are not in the sums yet."): (
        lambda figures: figures.uncounted
    ),
}
#: What is summed over the journal.
SUMS: tuple[Family, ...] = (
    Family("runs", "gauge", "Runs that are not over.", ("workflow", "state")),
    Family("runs_created_total", "counter", "Runs that were submitted or started by others.", ("workflow",)),
    Family("runs_finished_total", "counter", "Runs that ended.", ("workflow", "state")),
    Family("run_duration_seconds", "histogram", "From a run's creation to its end.", ("workflow",)),
    Family("steps_finished_total", "counter", "Steps and items that ended.", ("workflow", "state")),
    Family("attempts_total", "counter", "Attempts of steps that ended.", ("agent", "task", "outcome")),
    Family("attempt_duration_seconds", "histogram", "From an attempt's start to its end.", ("agent", "task")),
    Family(
        "step_queue_wait_seconds",
        "histogram",
        "From when a step could start, or start again, to the start of the attempt.",
        ("agent", "priority"),
    ),
    Family("messages_sent_total", "counter", "Messages and handoffs that were sent.", ("agent", "priority")),
    Family("messages_delivered_total", "counter", "Attempts to handle one that were begun.", ("agent",)),
    Family("messages_finished_total", "counter", "Messages and handoffs that ended.", ("agent", "state")),
    Family(
        "message_queue_wait_seconds",
        "histogram",
        "From when a message was written to its first delivery; counted when it ends.",
        ("agent", "priority"),
    ),
    Family("message_duration_seconds", "histogram", "From a message's first delivery to its end.", ("agent",)),
    Family("handoffs_total", "counter", "Handoffs that came into a state.", ("agent", "state")),
    Family("retries_total", "counter", "Attempts that failed and are to be repeated.", ("kind", "agent")),
    Family("leases_lapsed_total", "counter", "Attempts whose worker was lost.", ("kind", "agent")),
    Family("journal_entries_total", "counter", "Entries of the journal that are in the sums."),
    Family(
        "journal_entries_missed_total",
        "counter",
        "Entries that are not in the sums: they were trimmed before anybody counted them, or cannot be read.",
    ),
)
FAMILIES: tuple[Family, ...] = (*QUEUES, *AGENTS, *SERVER, *SUMS)
_WITHOUT_LABELS_FROM_0 = tuple(family for family in SUMS if not family.labels)


def sums_of(figures: Figures) -> Iterator[tuple[Family, list[Series]]]:
    """What is summed, and what is told of the server, by family."""
    for family, shown in SERVER.items():
        value = shown(figures)
        yield family, [] if value is None else [((), value)]
    known: dict[str, list[Series]] = {family.name: [] for family in SUMS}
    for found in figures.sums:
        if found.family in known:  # else of a newer version
            known[found.family].append((found.labels, found.value))
    for family in _WITHOUT_LABELS_FROM_0:
        known[family.name] = known[family.name] or [((), 0)]
    for family in SUMS:
        yield family, [one for one in known[family.name] if len(one[0]) == len(family.labels)]


def cumulated(family: Family, spread: Spread) -> list[int]:
    """How many were at most each bound of the family; all of them last.

    What a version with other bounds has counted goes to the next higher one of ours.
    """
    counts = [0] * (len(family.bounds_ms) + 1)
    for bound, count in spread.counts.items():
        counts[bisect_left(family.bounds_ms, bound)] += count
    return list(accumulate(counts))
