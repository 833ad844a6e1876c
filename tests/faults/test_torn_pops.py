"""F03: a worker dies, or its connection breaks, while the server hands it a message."""

from __future__ import annotations

import time

import pytest

from orchestrator.runtime.transport import POP
from tests.faults.agents import NAMES
from tests.faults.checker import Checker, summary
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book
from tests.faults.proxy import Proxy, ResetAfter, command
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial

FROZEN, RESETS = 100, 100  # trials of each kind
LEASE_S = 1.0
RESET_EVERY = 4  # pops
SETTLE_S = 30
RATE = 8.0  # messages a second while connections break


@pytest.mark.fault("F03", "torn pop: SIGSTOP, publish, SIGKILL; RST right behind the pop", star=True)
@pytest.mark.every_commit
@pytest.mark.timeout(900)
def test_no_message_is_lost_between_the_queue_and_a_worker(trial: Trial) -> None:
    frozen, resets = trial.scale(FROZEN), trial.scale(RESETS)
    server = trial.enter(Server(trial.folder / "server"))
    proxy = trial.enter(Proxy(server.url, seed=trial.seed))
    fleet = trial.fleet(url=server.url, worker_url=proxy.url, lease_s=LEASE_S, max_losses=1000)
    fleet.start(*NAMES, concurrency=1, supervised=False)
    back_s: dict[str, float] = {}
    for turn in range(-(-frozen // len(NAMES))):
        back_s |= freeze_publish_kill(fleet, trial, turn)
    reset = ResetAfter(match=command("FCALL", POP), n=RESET_EVERY)
    with proxy.toxic(reset), trial.messages(fleet, resets * RESET_EVERY, to=NAMES, name="reset", rate=RATE):
        pass
    verdict = trial.judge(fleet)
    after_freeze, after_reset = waits(Book.read(trial.oracle), back_s)
    trial.report(
        verdict,
        [
            Target("lost", verdict.counts["lost"], 0),
            Target("resets", reset.seen // RESET_EVERY, resets, at_least=True),
            Target("rung again after a kill", summary(after_freeze)["max"], 5, "s", timing=True),
            Target("rung again after a reset", summary(after_reset)["max"], 5, "s", timing=True),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{frozen} workers frozen and killed, {resets} pops cut off, a message every {1 / RATE:g} s",
        counts={"resets": reset.seen // RESET_EVERY},
    )


def freeze_publish_kill(fleet: Fleet, trial: Trial, turn: int) -> dict[str, float]:
    """A message just before all workers are frozen, so that it may be on its way, one to each while they are, and kill
    them. Returns for each key when somebody was there for it."""
    victims = list(fleet.workers)
    with trial.messages(fleet, len(NAMES), to=NAMES, name=f"early-{turn}"):
        time.sleep(trial.chance.uniform(0, 0.02))  # the moment is the trial's, not the product's
        for worker in victims:
            worker.freeze("main")
    with trial.messages(fleet, len(NAMES), to=NAMES, name=f"late-{turn}"):
        pass
    for worker in victims:
        worker.kill()
    fleet.workers.clear()
    fleet.start(*NAMES, concurrency=1, supervised=False)
    now_s = time.monotonic()
    Checker(fleet.client, trial.oracle).settle(SETTLE_S)  # those who are there now are the next to die
    return {f"{kind}-{turn}-{number}": now_s for kind in ("early", "late") for number in range(len(NAMES))}


def waits(book: Book, back_s: dict[str, float]) -> tuple[list[float], list[float]]:
    """Seconds that messages waited for their handler: those of the frozen, and those whose connections broke."""
    after_freeze, after_reset = [], []
    for (key, _), tries in book.tries_of.items():
        if key in back_s:
            after_freeze.append(max(0.0, tries[0].start_s - back_s[key]))
        else:
            after_reset.append(tries[0].start_s - (book.fates[key].accepted_s or 0.0))
    return after_freeze, after_reset
