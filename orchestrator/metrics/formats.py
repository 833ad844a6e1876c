"""How the figures are written: for Prometheus, and as JSON for whatever scales by one number.

The text is written here and not by `prometheus_client`, which takes ten times as long: a thousand agents have 27,000
lines. Its parser reads them in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from orchestrator.client import Client
from orchestrator.metrics.families import AGENTS, QUEUES, Family, Series, cumulated, sums_of
from orchestrator.metrics.gathering import gather
from orchestrator.store.figures import Figures
from orchestrator.store.load import AgentLoad, Waiting
from orchestrator.store.sums import Spread

Json = Any
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(client: Client) -> str:
    """All figures in Prometheus' text format 0.0.4. Serve it as `TEXT_TYPE`.

    Raises:
        StoreUnavailable.
    """
    return to_text(gather(client)).decode()


# --- Prometheus -------------------------------------------------------------------------------------------------------


def to_text(figures: Figures) -> bytes:
    """The figures in Prometheus' text format 0.0.4."""
    lines = [*_agent_lines(figures.agents)]
    for family, series in sums_of(figures):
        lines += _head(family)
        lines += _histogram_lines(family, series) if family.kind == "histogram" else _lines(family, series)
    return "\n".join([*lines, ""]).encode()


def _head(family: Family) -> tuple[str, str]:
    name, text = family.full_name, family.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}", f"# TYPE {name} {family.kind}"


def _agent_lines(agents: Sequence[AgentLoad]) -> Iterator[str]:
    for queue, waits in QUEUES.items():
        yield from _head(queue)
        for load in agents:
            label = f'{queue.full_name}{{agent="{_escape(load.name)}",priority="'
            for priority, waiting in load.waiting.items():
                yield f'{label}{priority}"}} {float(waits(waiting))!r}'
    for family, shown in AGENTS.items():
        yield from _head(family)
        for load in agents:
            yield f'{family.full_name}{{agent="{_escape(load.name)}"}} {float(shown(load))!r}'


def _lines(family: Family, series: Sequence[Series]) -> Iterator[str]:
    for labels, value in series:
        assert not isinstance(value, Spread)
        shown = _labels(family, labels)
        yield f"{family.full_name}{{{shown}}} {float(value)!r}" if shown else f"{family.full_name} {float(value)!r}"


def _histogram_lines(family: Family, series: Sequence[Series]) -> Iterator[str]:
    name, bounds = family.full_name, family.bounds
    for labels, spread in series:
        assert isinstance(spread, Spread)
        shown = _labels(family, labels)
        head, counts = f'{name}_bucket{{{shown},le="', cumulated(family, spread)
        for bound, count in zip(bounds, counts, strict=True):
            yield f'{head}{bound}"}} {count}.0'
        yield f"{name}_count{{{shown}}} {counts[-1]}.0"
        yield f"{name}_sum{{{shown}}} {spread.total_ms / 1000!r}"


def _labels(family: Family, values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(family.labels, values, strict=True))


@lru_cache(maxsize=8192)
def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


# --- JSON -------------------------------------------------------------------------------------------------------------


def to_json(figures: Figures) -> Json:
    """`{agents: {NAME: {load, waiting, running, workers, oldest_waiting_s, queue: {PRIORITY: {...}}}}, series: {...}}`.

    `load` is what waits and what runs: divided by an agent's concurrency it is the number of workers to have. In
    `series` are all other families: lists of `{labels, value}`, of a histogram `{labels, count, sum, buckets}`.
    """
    series = {family.full_name: [_series(family, one) for one in found] for family, found in sums_of(figures)}
    return {"agents": {load.name: _agent(load) for load in figures.agents}, "series": series}


def _series(family: Family, series: Series) -> Json:
    labels, value = series
    shown = {"labels": dict(zip(family.labels, labels, strict=True))}
    if not isinstance(value, Spread):
        return shown | {"value": value}
    counts = cumulated(family, value)
    buckets = dict(zip(family.bounds, counts, strict=True))
    return shown | {"count": counts[-1], "sum": value.total_ms / 1000, "buckets": buckets}


def _agent(load: AgentLoad) -> Json:
    return {
        "load": load.waits + load.running,
        "waiting": load.waits,
        "running": load.running,
        "workers": len(load.workers),
        "oldest_waiting_s": max(waiting.oldest_ms for waiting in load.waiting.values()) / 1000,
        "queue": {priority: _queue(waiting) for priority, waiting in load.waiting.items()},
    }


def _queue(waiting: Waiting) -> Json:
    counts = {"steps": waiting.steps, "messages": waiting.messages, "handoffs": waiting.handoffs}
    return counts | {"oldest_waiting_s": waiting.oldest_ms / 1000}
