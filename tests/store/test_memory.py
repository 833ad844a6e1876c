"""What the server keeps of a step that is done: bytes, counted by the server itself."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from orchestrator.store.runs import RunStore
from tests.factories import plan, task

OUTPUT = '"' + os.urandom(99).hex() + '"'  # 200 bytes


def chain(length: int):
    return plan(*(task(f"s{at}", *([f"s{at - 1}"] if at else [])) for at in range(length)))


def kept_bytes(store: RunStore, run_id: str) -> int:
    keys = store.client.scan_iter(f"{store.keys.run(run_id)}*")
    return sum(store.client.memory_usage(key, samples=0) for key in keys)


@pytest.mark.parametrize(("length", "most"), [(1, 1700), (5, 800), (100, 640)])
def test_a_finished_step_of_200_bytes_keeps_little(store: RunStore, create: Callable, length: int, most: int) -> None:
    run_id, _ = create(chain(length))
    for at in range(length):
        store.claim_step(run_id, f"s{at}", worker="writer.12345@machine", lease_ms=60_000)
        store.finish_step(run_id, f"s{at}", 1, OUTPUT)
    assert store.read_run(run_id).state == "succeeded"
    assert kept_bytes(store, run_id) / length <= most


def test_a_run_that_waits_keeps_little(store: RunStore, create: Callable) -> None:
    run_id, _ = create(plan(task("a")))
    assert kept_bytes(store, run_id) <= 860
