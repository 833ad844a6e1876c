"""F36: everything at once for a long time: workers, links and the server are hurt in turn, and nothing may pile up."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest

from tests.faults.agents import CHAIN_STEPS, chain_outputs
from tests.faults.fleet import Fleet, Storm, Worker
from tests.faults.proxy import DropReply, Echo, Latency, Proxy, Slicer, Timeout
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial
from tests.memory import resident_bytes

SECONDS = 1200
MESSAGES_S, RUNS_S = 11.0, 3.0  # a second; a run has three steps
NAMES = ("alpha", "beta", "gamma")  # whose workers are hurt too; the one of delta only has its link and its server
LEASE_S = 2.0
HANDLER_MS = 50
STORM_EVERY_S, FREEZE_S = 5.0, 4.0
TROUBLE_EVERY_S = 4.0


@pytest.mark.fault("F36", "soak: all faults by seed for 20 minutes")
@pytest.mark.timeout(1700)
def test_nothing_piles_up_in_a_long_time_of_trouble(trial: Trial) -> None:
    seconds = trial.scale(SECONDS)
    options = {"lease_s": LEASE_S, "max_losses": 1000, "durability": "always"}
    with (
        Server(trial.folder / "server", tcp=True) as server,
        Proxy(server.url, seed=trial.seed) as proxy,
    ):
        fleet = trial.fleet(url=server.url, worker_url=proxy.url, **options)
        calm = trial.fleet(url=server.url, worker_url=proxy.url, **options)
        fleet.start(*NAMES, each=2, concurrency=2)
        (witness,) = calm.start("delta", concurrency=2)
        work(trial, fleet, "warm", seconds=5)
        trial.judge(fleet, outputs=chain_outputs, steps=CHAIN_STEPS)
        kept_before, used = lasting_keys(server), []
        trouble = Trouble(server, proxy, fleet, random.Random(trial.seed + 1))
        storm = Storm(
            fleet, trial.chance, every_s=STORM_EVERY_S, acts=("term", "kill", "stop"), freeze_s=FREEZE_S, concurrency=2
        )

        def make_trouble(seconds: float) -> None:
            trouble.make(seconds / 4)
            used.append(Usage(witness))  # by then it has met most kinds of trouble, and filled its caches
            trouble.make(3 * seconds / 4)

        with storm:
            work(trial, fleet, "soak", seconds=seconds, meanwhile=make_trouble)
        verdict = trial.judge(fleet, timeout_s=120, outputs=chain_outputs, steps=CHAIN_STEPS)
        left = fleet.left_behind()
        before, after, piled_up = used[0], Usage(witness), lasting_keys(server) - kept_before
        print(f"left {left}, piled up {piled_up}, {vars(before)} -> {vars(after)}")
        takeover = verdict.recovery.get("takeover_s", {"p95": 0.0})
        recovery = verdict.recovery.get("recovery_s", {"max": 0.0})
        trial.report(
            verdict,
            [
                Target("wrong", verdict.counts["attempted"] - verdict.counts["ok"], 0),
                Target("takeover p95", takeover["p95"], 12, "s", timing=True),
                Target("recovery max", recovery["max"], 15, "s", timing=True),
                Target("left behind", sum(left.values()), 0),
                Target("keys without an end that were not there before", len(piled_up), 0),
                Target("memory of a worker since the first quarter", 100 * (after.rss / before.rss - 1), 10, "% more"),
                # Pools of connections breathe.
                Target("handles of a worker since the first quarter", after.handles - before.handles, 10, "more"),
            ],
            load=f"{seconds} s, {MESSAGES_S:g} messages and {RUNS_S:g} runs of 3 steps a second, a fault every"
            f" {TROUBLE_EVERY_S:g} s and a worker hurt every {STORM_EVERY_S:g} s, lease {LEASE_S:g} s",
            counts={**storm.counts, **trouble.counts},
            about="Beside the keys of what is kept for a day, those of Celery messages whose worker was killed.",
        )


def work(
    trial: Trial, fleet: Fleet, name: str, *, seconds: float, meanwhile: Callable[[float], None] = time.sleep
) -> None:
    """Messages and runs for so long. Of each hundred messages two fail, and two kill their process, the first time."""

    def body(number: int) -> dict[str, object]:
        odd = {10: "raise", 35: "die", 60: "raise", 85: "exit"}.get(number % 100)
        return {"ms": HANDLER_MS, **({"kind": odd, "times": 1} if odd else {})}

    messages = trial.messages(
        fleet, round(seconds * MESSAGES_S), name=f"m-{name}", to=(*NAMES, "delta"), body=body, rate=MESSAGES_S,
        insists=True,
    )  # fmt: skip
    runs = trial.runs(
        fleet, round(seconds * RUNS_S), name=f"r-{name}", inputs={"ms": HANDLER_MS}, rate=RUNS_S, insists=True
    )
    with messages, runs:
        meanwhile(seconds)


class Trouble:
    """One fault of the link or the server after the other, by seed."""

    def __init__(self, server: Server, proxy: Proxy, fleet: Fleet, chance: random.Random) -> None:
        self._server, self._proxy, self._fleet, self._chance = server, proxy, fleet, chance
        self._acts: dict[str, Callable[[], None]] = {
            "link_reset": proxy.cut,
            "link_down": self._take_link_down,
            "half_open": self._half_open,
            "slow_link": self._slow,
            "ragged_link": self._ragged,
            "replies_lost": self._lose_replies,
            "server_killed": self._kill_server,
            "server_frozen": self._freeze_server,
            "doorbells_twice": self._ring_twice,
            "doorbells_lost": self._lose_doorbells,
            "child_killed": self._kill_child,
        }
        self.counts = dict.fromkeys(self._acts, 0)

    def make(self, seconds: float) -> None:
        """Make trouble for so long; each kind once before any comes again."""
        ends_s, order = time.monotonic() + seconds, []
        while time.monotonic() < ends_s:
            order = order or self._chance.sample(list(self._acts), len(self._acts))
            act = order.pop()
            self.counts[act] += 1
            self._fleet.note("fault", act)
            self._acts[act]()
            self._fleet.note("healed", act)
            time.sleep(min(self._chance.uniform(0.5, 1.5) * TROUBLE_EVERY_S / 2, max(0.0, ends_s - time.monotonic())))

    def _last(self) -> None:
        time.sleep(self._chance.uniform(0.5, 1.5) * TROUBLE_EVERY_S / 2)

    def _take_link_down(self) -> None:
        self._proxy.down()
        self._last()
        self._proxy.up()

    def _half_open(self) -> None:
        with self._proxy.toxic(Timeout("up"), Timeout("down")):
            self._last()

    def _slow(self) -> None:
        with self._proxy.toxic(Latency(ms=100, jitter_ms=50)):
            self._last()

    def _ragged(self) -> None:
        with self._proxy.toxic(Slicer("up", size=50), Slicer("down", size=50)):
            self._last()

    def _lose_replies(self) -> None:
        with self._proxy.toxic(DropReply(p=0.05)):
            self._last()

    def _kill_server(self) -> None:
        self._server.kill()
        self._last()
        self._server.start()

    def _freeze_server(self) -> None:
        self._server.pause()
        self._last()
        self._server.resume()

    def _ring_twice(self) -> None:
        with Echo(self._server.url, seed=self._chance.randrange(1_000_000)):
            self._last()

    def _lose_doorbells(self) -> None:
        with self._server.client() as client:
            client.delete(*(f"agent.{name}" for name in NAMES))

    def _kill_child(self) -> None:
        with suppress(AssertionError):  # the storm may just have killed the whole worker
            self._chance.choice(self._fleet.workers).kill("child")


class Usage:
    """What the main process of a worker uses: resident bytes and open files. Its children are new ones now and then."""

    def __init__(self, worker: Worker) -> None:
        (pid,) = worker.pids("main")
        self.rss = resident_bytes(pid)
        self.handles = len(os.listdir(f"/proc/{pid}/fd"))


def lasting_keys(server: Server) -> Counter[str]:
    """The keys that nothing will remove. Not kombu's: the messages of killed workers wait there for a day."""
    with server.client() as client:
        keys: Iterable[str] = list(client.scan_iter(count=1000))
        return Counter(key for key in keys if client.ttl(key) == -1 and not key.startswith("unacked"))
