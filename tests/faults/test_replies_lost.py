"""F16: the server does what it was told, and its answer is lost: to senders, claims, results and handoffs."""

from __future__ import annotations

import pytest

from tests.faults.agents import CHAIN_STEPS, NAMES, chain_outputs
from tests.faults.checker import Checker
from tests.faults.fleet import Fleet
from tests.faults.proxy import DropReply, Proxy, script
from tests.faults.senders import Sender
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial

SENDS, RUNS = 2000, 500
SHARE = 0.05
#: Where work is taken on, begun, handed over and recorded.
SCRIPTS = ("send_messages", "create_run", "claim_message", "claim_step", "finish_message", "finish_step")
HANDOFFS = 0.2  # of the sends
SETTLE_S = 120


def handoffs(fleet: Fleet, trial: Trial, total: int) -> Sender:
    """Handoffs of a task, in the oracle as messages."""

    def hand(number: int, key: str) -> str:
        to = NAMES[number % len(NAMES)]
        return fleet.client.handoff(to, "link", {"key": key}, sender="tester", idempotency_key=key).message_id

    return Sender(trial.oracle, hand, kind="message", name="h", total=total)


@pytest.mark.fault("F16", "reply lost after commit, 5 % of the calls of scripts", star=True)
@pytest.mark.every_commit
@pytest.mark.timeout(600)
def test_a_lost_reply_neither_doubles_nor_fails_anything(trial: Trial) -> None:
    sends, runs = trial.scale(SENDS), trial.scale(RUNS)
    server = trial.enter(Server(trial.folder / "server"))
    proxy = trial.enter(Proxy(server.url, seed=trial.seed))
    fleet = trial.fleet(url=proxy.url)
    fleet.start(*NAMES, concurrency=2)
    drops = {name: DropReply(match=script(name), p=SHARE, first=True) for name in SCRIPTS}
    handed = round(HANDOFFS * sends)
    with proxy.toxic(*drops.values()):
        with (
            trial.messages(fleet, sends - handed, to=NAMES),
            handoffs(fleet, trial, handed),
            trial.runs(fleet, runs),
        ):
            pass
        Checker(fleet.client, trial.oracle).settle(SETTLE_S)
    verdict = trial.judge(fleet, outputs=chain_outputs, steps=CHAIN_STEPS)
    store, counts = fleet.client.store, verdict.counts
    stored = sum(1 for _ in store.client.scan_iter(f"{store.keys.message_prefix}*", 1000, "HASH"))
    trial.report(
        verdict,
        [
            Target("messages beyond those sent", abs(stored - sends), 0),
            Target("runs beyond those submitted", abs(store.client.zcard(store.keys.runs) - runs), 0),
            Target("false failures", sends + runs - counts["ok"], 0),
            Target("sends that raised", counts["indeterminate"] + counts["refused"], 0),
            Target("scripts that lost no reply", sum(not drop.dropped for drop in drops.values()), 0),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{sends} sends, {handed} of them handoffs, and {runs} runs of 3 steps; {SHARE:.0%} of the replies lost",
        counts={f"replies lost by {name}": drop.dropped for name, drop in drops.items()},
    )
