"""F14: the link carries nothing any more and nobody is told: no FIN, no RST, to workers, senders and commands."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.faults.agents import CHAIN
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book
from tests.faults.proxy import Proxy, Timeout
from tests.faults.senders import start_sender_process
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

CUT_S, SHORTEST_CUT_S = 60.0, 30.0
BEFORE_S, AFTER_S = 5.0, 15.0
RATE = 5.0  # messages a second
AGENTS = ("alpha", "beta")
HANDLER_MS = 300
PATIENCE_S = 4.0
DEADLINE_S = 5.0  # of a command that has no --timeout; `ORCHESTRATOR_DEADLINE_S`
LANES = 2
BEYOND_S = 5.0  # what a command may take beyond its time and that of the same Python beside it, which has a good link
NOTICED = re.compile(r"WARNING (heartbeat|keeper|consumer): .*(Timeout|Connection|ReplyLost)")

#: Commands during the cut, and the seconds that each may take.
COMMANDS = {
    ("send", "alpha", "hello"): DEADLINE_S,
    ("runs",): DEADLINE_S,
    ("agents",): DEADLINE_S,
    ("run", "workflow.yaml", "-i", "key=never", "--detach"): DEADLINE_S,
    ("ask", "alpha", "hello", "--timeout", f"{PATIENCE_S:g}"): DEADLINE_S + PATIENCE_S,
    ("broadcast", "hello", "--wait-acks", "1", "--timeout", f"{PATIENCE_S:g}"): DEADLINE_S + PATIENCE_S,
    ("inbox", "delta"): DEADLINE_S,
}
#: Begun before it: the cut meets them while they wait.
WAITING = {
    ("ask", "gamma", "hello", "--timeout", f"{BEFORE_S + PATIENCE_S:g}"): BEFORE_S + PATIENCE_S + DEADLINE_S,
    ("events", "--follow", "--json"): BEFORE_S + 2 * DEADLINE_S,
}

Ended = tuple[subprocess.CompletedProcess[str], float]


def _timed(fleet: Fleet, words: tuple[str, ...]) -> Callable[[], Ended]:
    direct = {"ORCHESTRATOR_URL": fleet.client.url}

    def call() -> Ended:
        began_s = time.monotonic()
        done = fleet.call(*words, timeout_s=90)
        ended_s = time.monotonic()
        fleet.call("agents", environment=direct)
        return done, 2 * ended_s - began_s - time.monotonic()

    return call


def _late(words: tuple[str, ...], ended: Ended, allowed_s: float) -> float:
    """Seconds beyond what it may take, without those that Python takes on this machine at this moment."""
    done, took_s = ended
    print(f"{took_s:5.1f} s, exit {done.returncode}: {' '.join(words)}: {done.stderr.strip()[-120:]}")
    assert "Traceback" not in done.stderr, (words, done.stderr)
    return took_s - allowed_s


def _first_starts(book: Book, healed_s: float) -> list[float]:
    """Of each agent: seconds until one of its handlers starts."""
    found = []
    for place in range(len(AGENTS)):
        starts = [one.start_s for one in book.tries if int(one.key.split("-")[1]) % len(AGENTS) == place]
        found.append(min((start for start in starts if start >= healed_s), default=float("inf")) - healed_s)
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "for_good",
    [
        pytest.param(True, marks=pytest.mark.fault("F14", "half-open TCP, connections forgotten for good", star=True)),
        pytest.param(False, marks=pytest.mark.fault("F14b", "half-open TCP, what was held flows on")),
    ],
)
def test_a_silent_link_is_noticed_and_nothing_hangs(trial: Trial, for_good: bool) -> None:
    cut_s = max(SHORTEST_CUT_S, CUT_S * trial.load)
    total = round(RATE * (BEFORE_S + cut_s + AFTER_S))
    with Server(trial.folder / "server") as server, Proxy(server.url, seed=trial.seed) as proxy:
        fleet = trial.fleet(url=server.url, worker_url=proxy.url, durability="always", deadline_s=DEADLINE_S)
        workers = fleet.start(*AGENTS)
        fleet.call("register", "gamma")
        (trial.folder / "workflow.yaml").write_text(CHAIN)
        sender = start_sender_process(
            proxy.url, trial.oracle, total, to=AGENTS, rate=RATE, insists=True, body={"ms": HANDLER_MS}
        )
        with ThreadPoolExecutor(LANES + len(WAITING)) as pool:
            waiting: dict[tuple[str, ...], Future[Ended]] = {}
            commands: dict[tuple[str, ...], Future[Ended]] = {}
            wait_until(lambda: trial.count("end") >= 2 * RATE, what="the first messages", timeout_s=60, every_s=0.2)
            waiting |= {words: pool.submit(_timed(fleet, words)) for words in WAITING}
            time.sleep(BEFORE_S)  # until they wait
            silence = Timeout(stream="up"), Timeout(stream="down")
            fleet.note("fault", "cut")
            with proxy.toxic(*silence):
                cut_at_s = time.monotonic()
                commands |= {words: pool.submit(_timed(fleet, words)) for words in COMMANDS}
                wait_until(
                    lambda: len(NOTICED.findall(fleet.log)) >= 2 * len(workers),
                    what="workers that notice", timeout_s=cut_s, every_s=0.1,
                )  # fmt: skip
                noticed_s = time.monotonic() - cut_at_s
                time.sleep(max(0.0, cut_at_s + cut_s - time.monotonic()))
                if for_good:
                    proxy.forget()
            fleet.note("healed", "cut")
        late = [
            _late(words, future.result(), {**COMMANDS, **WAITING}[words])
            for words, future in {**commands, **waiting}.items()
        ]
        assert sender.wait(cut_s + 60) == 0, "the sender has failed"
        verdict = trial.judge(fleet, timeout_s=90)
        book = Book.read(trial.oracle)
        healed_s = next(line["at_s"] for line in book.faults if line["what"] == "healed")
        slowest_s = max(_first_starts(book, healed_s))
        assert all(worker.alive for worker in workers)
        trial.report(
            verdict,
            [
                Target("lost", verdict.counts["lost"], 0),
                Target("workers noticed after", round(noticed_s, 1), 20, "s", timing=True),
                Target("recovery of the slowest worker", round(slowest_s, 2), 15, "s", timing=True),
                Target("commands beyond their time, the slowest", round(max(late), 1), BEYOND_S, "s", timing=True),
            ],
            load=f"{total} messages of {HANDLER_MS} ms, {len(late)} commands, {cut_s:g} s without a word",
            counts={"commands": len(late)},
        )
