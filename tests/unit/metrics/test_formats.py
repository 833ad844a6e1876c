"""How the figures are written."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.metrics.families import FAMILIES, SUMS
from orchestrator.metrics.formats import to_json, to_text
from orchestrator.store.figures import Figures
from orchestrator.store.load import PRIORITIES, AgentLoad, Waiting
from orchestrator.store.sums import BOUNDS_MS, Spread, Sum


def agent(name: str, running: int = 0, workers: tuple[str, ...] = (), **waiting: Waiting) -> AgentLoad:
    return AgentLoad(name, running, workers, {name: waiting.get(name, Waiting()) for name in PRIORITIES})


BUSY = agent(
    "writer", 2, ("w1@a", "w2@b"),
    high=Waiting(steps=5, messages=1, handoffs=2, oldest_ms=1500), low=Waiting(messages=1, oldest_ms=90_000),
)  # fmt: skip
INFINITE = float("inf")
FIGURES = Figures(
    [BUSY, agent("idle")],
    sums=[
        Sum("attempt_duration_seconds", ("writer", "draft"), Spread(4_005_000, {5: 3, 1000: 1, INFINITE: 2})),
        Sum("attempts_total", ("writer", "draft", "succeeded"), 6),
        Sum("journal_entries_total", (), 40),
        Sum("of_a_newer_version_total", ("x",), 1),
        Sum("runs", ("report", "paused"), 3),
        Sum("runs_created_total", ("of", "two many labels"), 3),
    ],
    uncounted=7, dead_letters=2, keeper_lag_ms=1250, memory_bytes=4096, memory_limit_bytes=8192,
)  # fmt: skip


def parsed(figures: Figures) -> dict[tuple[str, ...], float]:
    """(name, label values) -> value, as the official parser reads it."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(to_text(figures).decode())
        for sample in family.samples
    }


def test_each_family_has_its_help_and_its_type_once_and_before_its_samples() -> None:
    lines = to_text(FIGURES).decode().splitlines()
    for family in FAMILIES:
        name = family.full_name
        of = [line for line in lines if re.match(rf"(# \w+ )?{name}(_bucket|_count|_sum)?[ {{]", line)]
        assert of[0] == f"# HELP {name} {family.help}"
        assert of[1] == f"# TYPE {name} {family.kind}"
        assert all(not line.startswith("#") for line in of[2:])
    assert 'orchestrator_queue_depth{agent="writer",priority="high"} 8.0' in lines
    assert to_text(FIGURES).endswith(b"\n")


def test_a_parser_of_prometheus_reads_the_same_figures() -> None:
    found = parsed(FIGURES)
    assert found["orchestrator_queue_depth", "writer", "high"] == 8
    assert found["orchestrator_waiting_steps", "writer", "high"] == 5
    assert found["orchestrator_waiting_messages", "writer", "low"] == 1
    assert found["orchestrator_waiting_handoffs", "writer", "high"] == 2
    assert found["orchestrator_oldest_waiting_seconds", "writer", "low"] == 90
    assert found["orchestrator_running", "writer"] == 2
    assert found["orchestrator_workers_online", "writer"] == 2
    assert {value for name, value in found.items() if name[1:2] == ("idle",)} == {0}
    assert found["orchestrator_runs", "report", "paused"] == 3
    assert found["orchestrator_attempts_total", "writer", "draft", "succeeded"] == 6
    assert found["orchestrator_dead_letters",] == 2
    assert found["orchestrator_keeper_lag_seconds",] == 1.25
    assert found["orchestrator_server_memory_bytes",] == 4096
    assert found["orchestrator_server_memory_limit_bytes",] == 8192
    assert found["orchestrator_uncounted_entries",] == 7
    assert found["orchestrator_journal_entries_total",] == 40
    assert found["orchestrator_journal_entries_missed_total",] == 0, "a counter that an alert watches is there from 0"
    agents = 2 * (5 * len(PRIORITIES) + 2)
    histogram = len(BOUNDS_MS["attempt_duration_seconds"]) + 3
    assert len(found) == agents + histogram + len(("runs", "attempts")) + 5 + 2


def test_a_histogram_cumulates_and_ends_with_all_of_them() -> None:
    name = "orchestrator_attempt_duration_seconds"
    found = parsed(FIGURES)
    buckets = [(key[-1], value) for key, value in found.items() if key[0] == f"{name}_bucket"]
    assert [le for le, _ in buckets] == [*(repr(ms / 1000) for ms in BOUNDS_MS["attempt_duration_seconds"]), "+Inf"]
    values = [value for _, value in buckets]
    assert values == sorted(values)
    assert dict(buckets) | {"0.005": 3, "0.5": 3, "1.0": 4, "3600.0": 4, "+Inf": 6} == dict(buckets)
    assert found[f"{name}_count", "writer", "draft"] == 6
    assert found[f"{name}_sum", "writer", "draft"] == 4005.0


def test_what_was_counted_under_other_bounds_goes_to_the_next_higher_one() -> None:
    spread = Spread(100, {3: 1, 7: 2, 4_000_000: 4})
    found = parsed(Figures([], [Sum("attempt_duration_seconds", ("writer", "draft"), spread)]))
    of = {key[-1]: value for key, value in found.items() if key[0].endswith("_bucket")}
    assert (of["0.005"], of["0.01"], of["3600.0"], of["+Inf"]) == (1, 3, 3, 7)


def test_a_server_that_may_not_be_asked_for_its_memory_shows_none() -> None:
    names = {name for name, *_ in parsed(Figures([BUSY]))}
    assert "orchestrator_keeper_lag_seconds" in names
    assert not {name for name in names if "memory" in name}


@pytest.mark.parametrize("name", ['a"b\\c\nd', "näme", "x,y={}"])
def test_names_are_escaped(name: str) -> None:
    figures = Figures([agent(name)], [Sum("runs", (name, "paused"), 1)])
    found = parsed(figures)
    assert found["orchestrator_running", name] == 0
    assert found["orchestrator_runs", name, "paused"] == 1
    if "\n" in name:
        assert 'orchestrator_running{agent="a\\"b\\\\c\\nd"} 0.0' in to_text(figures).decode()


def test_names_and_labels_are_as_prometheus_wants_them() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"[a-z][a-z_]*", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|count|sum|bucket)$", family.name)
        assert family.name.endswith("_seconds") or family.kind != "histogram"
        assert family.help.endswith(".")
        assert set(family.labels) <= {"workflow", "agent", "task", "state", "priority", "outcome", "kind"}, "no ids"
    assert {family.name for family in SUMS if family.kind == "histogram"} == set(BOUNDS_MS)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_the_json_has_one_number_to_scale_by() -> None:
    found = to_json(FIGURES)["agents"]
    assert list(found) == ["writer", "idle"]
    queue = found["writer"].pop("queue")
    assert found["writer"] == {"load": 11, "waiting": 9, "running": 2, "workers": 2, "oldest_waiting_s": 90.0}
    assert list(queue) == list(PRIORITIES)
    assert queue["high"] == {"steps": 5, "messages": 1, "handoffs": 2, "oldest_waiting_s": 1.5}


def test_the_json_has_the_same_series_as_the_text() -> None:
    series: dict[str, Any] = to_json(FIGURES)["series"]
    assert series["orchestrator_runs"] == [{"labels": {"workflow": "report", "state": "paused"}, "value": 3}]
    assert series["orchestrator_dead_letters"] == [{"labels": {}, "value": 2}]
    (took,) = series["orchestrator_attempt_duration_seconds"]
    assert (took["labels"], took["count"], took["sum"]) == ({"agent": "writer", "task": "draft"}, 6, 4005.0)
    assert took["buckets"]["1.0"] == 4
    text = {(name, *labels) for name, *labels in parsed(FIGURES)}
    for name, found in series.items():
        for one in found:
            suffix = "_sum" if "buckets" in one else ""
            assert (name + suffix, *one["labels"].values()) in text
