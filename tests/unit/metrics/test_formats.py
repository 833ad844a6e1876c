"""How the figures are written."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from orchestrator.metrics.formats import to_json, to_text
from orchestrator.metrics.gathering import Snapshot
from orchestrator.store.load import PRIORITIES, AgentLoad, Waiting


def agent(name: str, running: int = 0, workers: tuple[str, ...] = (), **waiting: Waiting) -> AgentLoad:
    return AgentLoad(name, running, workers, {name: waiting.get(name, Waiting()) for name in PRIORITIES})


BUSY = agent(
    "writer", 2, ("w1@a", "w2@b"),
    high=Waiting(steps=5, messages=1, handoffs=2, oldest_ms=1500), low=Waiting(messages=1, oldest_ms=90_000),
)  # fmt: skip
SNAPSHOT = Snapshot([BUSY, agent("idle")])


def test_each_family_has_its_help_and_its_type_once_and_before_its_samples() -> None:
    lines = to_text(SNAPSHOT).decode().splitlines()
    for name in ("queue_depth", "waiting_steps", "oldest_waiting_seconds", "running", "workers_online"):
        of = [line for line in lines if f"orchestrator_{name}" in line]
        assert of[0].startswith(f"# HELP orchestrator_{name} ")
        assert of[1] == f"# TYPE orchestrator_{name} gauge"
        assert all(not line.startswith("#") for line in of[2:])
    assert 'orchestrator_queue_depth{agent="writer",priority="high"} 8.0' in lines
    assert to_text(SNAPSHOT).endswith(b"\n")


def test_a_parser_of_prometheus_reads_the_same_figures() -> None:
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(to_text(SNAPSHOT).decode())
        for sample in family.samples
    }
    assert len(found) == 2 * (5 * len(PRIORITIES) + 2)
    assert found["orchestrator_queue_depth", "writer", "high"] == 8
    assert found["orchestrator_waiting_steps", "writer", "high"] == 5
    assert found["orchestrator_waiting_messages", "writer", "low"] == 1
    assert found["orchestrator_waiting_handoffs", "writer", "high"] == 2
    assert found["orchestrator_oldest_waiting_seconds", "writer", "low"] == 90
    assert found["orchestrator_running", "writer"] == 2
    assert found["orchestrator_workers_online", "writer"] == 2
    assert {value for name, value in found.items() if name[1] == "idle"} == {0}


def test_names_are_escaped() -> None:
    text = to_text(Snapshot([agent('a"b\\c\nd')])).decode()
    assert 'orchestrator_running{agent="a\\"b\\\\c\\nd"} 0.0' in text


def test_the_json_has_one_number_to_scale_by() -> None:
    found = to_json(SNAPSHOT)["agents"]
    assert list(found) == ["writer", "idle"]
    queue = found["writer"].pop("queue")
    assert found["writer"] == {"load": 11, "waiting": 9, "running": 2, "workers": 2, "oldest_waiting_s": 90.0}
    assert list(queue) == list(PRIORITIES)
    assert queue["high"] == {"steps": 5, "messages": 1, "handoffs": 2, "oldest_waiting_s": 1.5}
