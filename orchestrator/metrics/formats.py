"""How a snapshot is written: for Prometheus, and as JSON for whatever scales by one number.

The text is made by `prometheus_client`, which Flower brings: it escapes as the format asks for, and a collector of its
kind can be given to Flower's own `/metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from orchestrator.metrics.gathering import Snapshot
from orchestrator.store.load import AgentLoad, Waiting

Json = Any
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def to_text(snapshot: Snapshot) -> bytes:
    """The snapshot in Prometheus' text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(Families(snapshot))
    return generate_latest(registry)


class Families(Collector):
    """The snapshot as families of metrics."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        queue = ("agent", "priority")
        depth = _gauge("queue_depth", "Steps, messages and handoffs that nobody has begun.", *queue)
        steps = _gauge("waiting_steps", "Steps that nobody has begun.", *queue)
        messages = _gauge("waiting_messages", "Messages that nobody has begun.", *queue)
        handoffs = _gauge("waiting_handoffs", "Handoffs that nobody has accepted.", *queue)
        oldest = _gauge("oldest_waiting_seconds", "How long the oldest of them has waited; 0: none.", *queue)
        running = _gauge("running", "Steps and messages that are worked on.", "agent")
        workers = _gauge("workers_online", "Workers that serve the agent now.", "agent")
        for load in self._snapshot.agents:
            running.add_metric([load.name], load.running)
            workers.add_metric([load.name], len(load.workers))
            for priority, waiting in load.waiting.items():
                labels = [load.name, priority]
                depth.add_metric(labels, waiting.count)
                steps.add_metric(labels, waiting.steps)
                messages.add_metric(labels, waiting.messages)
                handoffs.add_metric(labels, waiting.handoffs)
                oldest.add_metric(labels, waiting.oldest_ms / 1000)
        return iter((depth, steps, messages, handoffs, oldest, running, workers))

    def describe(self) -> Iterator[Metric]:
        return iter(())  # or the registry would collect once more to learn the names


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"orchestrator_{name}", help_text, labels=labels)


def to_json(snapshot: Snapshot) -> Json:
    """`{agents: {NAME: {load, waiting, running, workers, oldest_waiting_s, queue: {PRIORITY: {...}}}}}`.

    `load` is what waits and what runs: divided by an agent's concurrency it is the number of workers to have.
    """
    return {"agents": {load.name: _agent(load) for load in snapshot.agents}}


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
