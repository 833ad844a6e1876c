"""F12: the server's memory is used up, first by our own flood, then by somebody else."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from orchestrator.errors import QueueFull
from tests.faults.agents import CHAIN_STEPS, chain_outputs
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

LIMIT_MB, LEAST_MB = 64, 24
BODY_BYTES = 16_384
HANDLER_MS = 20
RUNS_RATE = 4.0
FULL_S = 6.0
WORKERS = ("alpha", "beta", "gamma")
TRIES = 20
UNTIL_STOPPED = 1_000_000


class Somebody:
    """Fills the server to its last byte, and keeps it full."""

    def __init__(self, server: redis.Redis) -> None:
        self._server = server
        self._keys: list[str] = []

    def fill(self) -> None:
        for size in (1 << 20, 1 << 16, 1 << 12, 1 << 8):
            try:
                while True:
                    self._keys.append(f"somebody:{len(self._keys)}")
                    self._server.set(self._keys[-1], "x" * size)
            except redis.OutOfMemoryError:
                pass

    def leave(self) -> None:
        self._server.delete(*self._keys)


def _share_used(server: redis.Redis) -> float:
    memory: dict[str, Any] = server.info("memory")  # type: ignore[assignment]
    return (memory["used_memory"] - memory["mem_not_counted_for_evict"]) / memory["maxmemory"]


def _body(number: int) -> dict[str, Any]:
    return {"ms": HANDLER_MS, "fill": random.Random(number).randbytes(BODY_BYTES // 2).hex()}


def _over(trial: Trial, fleet: Fleet) -> dict[str, int]:
    """How many messages are acknowledged and how many runs have succeeded, by the records."""
    store, fates = fleet.client.store, [fate for fate in Book.read(trial.oracle).fates.values() if fate.id]
    with store.client.pipeline(transaction=False) as pipe:
        for fate in fates:
            key = store.keys.message if fate.kind == "message" else store.keys.run
            pipe.hget(key(str(fate.id)), "state")
        states = pipe.execute()
    return {state: states.count(state) for state in ("acknowledged", "succeeded")}


def _refused(call: Callable[[], object]) -> int:
    """How many of some tries are refused with QueueFull."""
    refused = 0
    for _ in range(TRIES):
        try:
            call()
        except QueueFull:
            refused += 1
    return refused


@pytest.mark.fault("F12", "`maxmemory` reached: by a flood of messages, then by somebody else", star=True)
@pytest.mark.timeout(400)
def test_a_full_server_refuses_new_work_and_ends_what_it_has(trial: Trial) -> None:
    limit_mb = max(LEAST_MB, round(LIMIT_MB * trial.load))
    with Server(trial.folder / "server", maxmemory=f"{limit_mb}mb") as server, server.client() as beside:
        fleet = trial.fleet(url=server.url, durability="always")
        workers = fleet.start(*WORKERS)
        mains = [worker.pids("main") for worker in workers]
        flood = trial.messages(fleet, UNTIL_STOPPED, body=_body, insists=True)
        runs = trial.runs(fleet, UNTIL_STOPPED, inputs={"ms": 200}, rate=RUNS_RATE, insists=True)
        plan = fleet.client.compile(trial.folder / "workflow-r.yaml")
        with flood, runs:
            wait_until(lambda: trial.count("refused") >= TRIES, what="refused sends", timeout_s=200, every_s=0.2)
            share = _share_used(beside)
            somebody = Somebody(beside)
            fleet.note("fault", "somebody else")
            somebody.fill()
            before, full_until_s = _over(trial, fleet), time.monotonic() + FULL_S
            while time.monotonic() < full_until_s:
                somebody.fill()
            sends = _refused(lambda: fleet.client.send("alpha", {"key": "refused"}))
            submits = _refused(lambda: fleet.client.submit(plan, {"key": "refused"}))
            after, share_full = _over(trial, fleet), _share_used(beside)
            acknowledged, succeeded = (after[state] - before[state] for state in ("acknowledged", "succeeded"))
            server.config(maxmemory=f"{4 * limit_mb}mb")
            fleet.note("healed", "somebody else")
            somebody.leave()
            accepted = trial.count("accepted")
            wait_until(lambda: trial.count("accepted") > accepted, what="accepted sends", timeout_s=30, every_s=0.1)
            flood.stop()
            runs.stop()
        verdict = trial.judge(fleet, timeout_s=200, outputs=chain_outputs)
        ended = sum(worker.pids("main") != pids for worker, pids in zip(workers, mains, strict=True))
        book = Book.read(trial.oracle)
        healed_s = next(line["at_s"] for line in book.faults if line["what"] == "healed")
        accepted_s = min(fate.accepted_s for fate in book.fates.values() if (fate.accepted_s or 0.0) > healed_s)
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("used when sends are refused, at least", round(100 * share), 79, "%", at_least=True),
                Target("used when sends are refused, at most", round(100 * share), 85, "%"),
                Target("used by somebody else", round(100 * share_full), 98, "%", at_least=True),
                Target("sends refused with QueueFull", sends, TRIES, at_least=True),
                Target("submits refused with QueueFull", submits, TRIES, at_least=True),
                Target("messages acknowledged while full", acknowledged, 20, at_least=True),
                Target("runs that succeeded while full", succeeded, 1, at_least=True),
                Target("workers that ended", ended, 0),
                Target("sends accepted again after", round((accepted_s or 0.0) - healed_s, 2), 5, "s", timing=True),
                Target("recovery max", verdict.recovery["recovery_s"]["max"], 5, "s", timing=True),
            ],
            load=f"messages of {BODY_BYTES >> 10} KiB into {limit_mb} MB, runs of {len(CHAIN_STEPS)} steps beside",
        )
