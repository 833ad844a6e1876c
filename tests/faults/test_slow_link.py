"""F15: a link that is slow, delivers byte by byte, and breaks at any of them."""

from __future__ import annotations

import re

import pytest

from tests.faults.proxy import Bandwidth, Latency, LimitData, Proxy, Slicer, Toxic
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial

MESSAGES = 500
RATE = 3.0  # a second; the link carries more, when it is not broken
LATENCY_MS, JITTER_MS = 200, 100
BYTES_S = 10_000
RESET_WITHIN_BYTES = 40_000
AGENTS = ("alpha", "beta")
OUT_OF_STEP = re.compile(r"Protocol error|InvalidResponse|Protocol Error|unexpected|Traceback", re.IGNORECASE)


@pytest.mark.fault("F15", "slow and ragged link: 200 ms ± 100, 10 kB/s, 1-byte slices, reset at a random byte")
@pytest.mark.timeout(500)
def test_a_ragged_link_loses_nothing_and_never_gets_out_of_step(trial: Trial) -> None:
    total = trial.scale(MESSAGES)
    with Server(trial.folder / "server") as server, Proxy(server.url, seed=trial.seed) as proxy:
        fleet = trial.fleet(url=server.url, worker_url=proxy.url, durability="always", max_losses=1000)
        workers = fleet.start(*AGENTS)
        ragged: list[Toxic] = [Latency(ms=LATENCY_MS, jitter_ms=JITTER_MS)]
        for stream in ("up", "down"):
            cut = LimitData(stream, size_bytes=RESET_WITHIN_BYTES, spread=True)
            ragged += [Bandwidth(stream, bytes_s=BYTES_S), cut, Slicer(stream)]
        fleet.note("fault", "link")
        with proxy.toxic(*ragged):
            with trial.messages(fleet, total, to=AGENTS, rate=RATE):
                pass
            verdict = trial.judge(fleet, timeout_s=180)
        wild = OUT_OF_STEP.findall(fleet.log)
        assert all(worker.alive for worker in workers)
        assert proxy.resets, "no connection was reset"
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("words out of step", len(wild), 0),
            ],
            load=f"{total} messages, workers behind {LATENCY_MS} ms ± {JITTER_MS}, {BYTES_S} B/s, single bytes",
            counts={"resets": proxy.resets},
        )
