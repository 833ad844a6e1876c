"""F08: the power goes, again and again, while messages are sent and handled."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from orchestrator.errors import MessageNotFound
from tests.faults.checker import Verdict
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book
from tests.faults.senders import Sender
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial

CUTS = 20
RATE = 200.0  # messages a second
TORN_BYTES = 40
LATE_S = 0.1  # an answer that was on its way is noted a moment after the cut
WINDOW_S = 2.0  # what `everysec` may cost
RECOVERY_S = 15.0
NEVER_S = 1e9
UNTIL_STOPPED = 1_000_000


@pytest.mark.fault("F08", "power cuts at random moments, `appendfsync always`", star=True)
@pytest.mark.timeout(400)
def test_a_power_cut_costs_nothing_when_every_write_is_synced(trial: Trial) -> None:
    cuts = max(2, trial.scale(CUTS))
    with Server(trial.folder / "server", shim=True) as server:
        fleet = cut_again_and_again(trial, server, cuts, durability="always")
        verdict = trial.judge(fleet, timeout_s=120)
        trial.report(
            verdict,
            [Target("lost", verdict.counts["lost"], 0), recovered(verdict)],
            load=f"{cuts} cuts, {RATE:g} messages a second, torn ends of 0 to {TORN_BYTES} bytes",
            counts={"cuts": cuts},
        )


@pytest.mark.fault("F08b", "power cuts at random moments, `appendfsync everysec`", star=True)
@pytest.mark.timeout(400)
def test_a_power_cut_costs_two_seconds_when_every_second_is_synced(trial: Trial) -> None:
    cuts = max(2, trial.scale(CUTS))
    with Server(trial.folder / "server", shim=True, appendfsync="everysec") as server:
        fleet = cut_again_and_again(trial, server, cuts, durability="everysec")
        verdict = trial.judge(fleet, timeout_s=30)  # its complaints are about what the cuts took away
        ages = list(ages_of_gone(fleet))
        assert ages, "the cuts met no write"
        trial.report(
            None,
            [
                Target("oldest accepted message that is gone, before the cut", max(ages), WINDOW_S, "s", timing=True),
                Target("accepted", verdict.counts["accepted"], 0.8 * verdict.counts["attempted"], at_least=True),
                recovered(verdict),
            ],
            load=f"{cuts} cuts, {RATE:g} messages a second, torn ends of 0 to {TORN_BYTES} bytes",
            counts={"cuts": cuts, "sent": verdict.counts["accepted"], "gone": len(ages)},
            about="Not promised: what a power cut costs with the setting of the embedded server.",
        )


def cut_again_and_again(trial: Trial, server: Server, cuts: int, **settings: str) -> Fleet:
    """Send and handle while the power goes; returns when everything is sent and the server is there."""
    fleet = trial.fleet(url=server.url, lease_s=2.0, **settings)
    fleet.start("alpha", concurrency=2)
    fleet.client.store.client.waitaof(1, 0, 5000)  # that there is a worker is not to be lost
    sender = trial.messages(fleet, UNTIL_STOPPED, rate=RATE, insists=True)
    with sender:
        for _ in range(cuts):
            time.sleep(trial.chance.uniform(0.3, 2.5))  # the moment of the cut is what is drawn
            cut(fleet, server, trial.chance)
        settle(sender)
    return fleet


def cut(fleet: Fleet, server: Server, chance: random.Random) -> None:
    fleet.note("fault", "power")
    server.cut_power(torn_bytes=chance.randrange(TORN_BYTES + 1))
    server.start()
    fleet.note("healed", "power")


def settle(sender: Sender) -> None:
    time.sleep(0.5)  # what comes after the last fault
    sender.stop()


def recovered(verdict: Verdict) -> Target:
    longest = verdict.recovery.get("recovery_s", {"max": NEVER_S})["max"]
    return Target("recovery max", longest, RECOVERY_S, "s", timing=True)


def ages_of_gone(fleet: Fleet) -> Iterator[float]:
    """For each accepted message that is not there any more: how long before the next cut it was accepted."""
    book = Book.read(fleet.oracle)
    cuts = [line["at_s"] for line in book.faults if line["what"] == "fault"]
    for fate in book.fates.values():
        if fate.id and fate.accepted_s:
            try:
                fleet.client.message(fate.id)
            except MessageNotFound:
                yield min((at - fate.accepted_s for at in cuts if at - fate.accepted_s > -LATE_S), default=NEVER_S)
