"""F14 with real links: workers on two machines, and the cable of one is pulled under load and put back."""

from __future__ import annotations

import time

import pytest

from tests.faults.fleet import Worker
from tests.faults.netns import Machine, machines, possible
from tests.faults.oracle import read_lines
from tests.faults.servers import Server
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(not possible(), reason="needs root and network namespaces"),
    pytest.mark.timeout(600),
]

PASSWORD = "far-away"
RATE, HANDLER_MS = 10.0, 200
LEASE_S = 5.0
LONG_S = 3.0  # handlers that are at it when the link is cut end so long after the healing
NOTICED_S = 20.0  # what a worker that is cut off may need to see it


@pytest.mark.fault("F14n", "two machines, the link of one is cut without a word, and healed", star=True)
def test_the_work_of_a_machine_that_is_cut_off_is_taken_over(trial: Trial) -> None:
    cut_s = max(25.0, 60 * trial.load)
    total = round(RATE * (cut_s + 20))
    with machines("one", "two") as (one, two):
        listen = f"127.0.0.1 {one.gateway} {two.gateway}"
        with Server(trial.folder / "server", tcp=True, bind=listen, requirepass=PASSWORD) as server:
            fleet = trial.fleet(url=server.url, lease_s=LEASE_S, max_losses=1000)

            def start(machine: Machine, concurrency: int) -> Worker:
                url = f"redis://:{PASSWORD}@{machine.gateway}:{server.port}/0"
                place = {"before": machine.before, "environment": {"ORCHESTRATOR_URL": url}}
                return fleet.start("alpha", concurrency=concurrency, **place)[0]

            # Two long handlers, on the first machine, that are at it before the cut and end after the healing.
            cut_off = start(one, 2)
            [name] = fleet.online()["alpha"]
            long_ms = 1000 * (cut_s + LONG_S)
            with trial.messages(fleet, 2, name="long", to=("alpha",), body={"ms": long_ms}, rate=None):
                pass
            wait_until(lambda: fleet.client.agents()[0]["running"] == 2, what="two long handlers", timeout_s=20)
            start(two, 5)
            with trial.messages(fleet, total, to=("alpha",), body={"ms": HANDLER_MS}, rate=RATE):
                one.cut()
                fleet.note("fault", "link", pids=cut_off.pids("child"))
                began_s = time.monotonic()
                wait_until(lambda: name not in fleet.online()["alpha"], what="its absence", timeout_s=3 * LEASE_S)
                absent_s = time.monotonic() - began_s
                wait_until(lambda: "heartbeat: " in fleet.log, what="the worker to see it", timeout_s=cut_s)
                noticed_s = time.monotonic() - began_s
                time.sleep(max(0.0, cut_s - noticed_s))  # the length of the fault
                one.heal()
                fleet.note("healed", "link")
                began_s = time.monotonic()
                serving = set(cut_off.pids("child"))
                wait_until(
                    lambda: any(
                        line["what"] == "start" and line["pid"] in serving and line["at_s"] > began_s
                        for line in read_lines(trial.oracle)
                    ),
                    what="its first handler after the healing", timeout_s=60, every_s=0.2,
                )  # fmt: skip
                back_s = time.monotonic() - began_s
            verdict = trial.judge(fleet, timeout_s=cut_s + 60)
            refused = fleet.log.count("came too late")
            trial.report(
                verdict,
                [
                    Target("lost", verdict.counts["lost"], 0),
                    Target("late answers refused", refused, 2, at_least=True),
                    Target("absent after", absent_s, 2 * LEASE_S, "s", timing=True),
                    Target("noticed by the worker", noticed_s, NOTICED_S, "s", timing=True),
                    Target("serves again after", back_s, 15, "s", timing=True),
                    Target("takeover max", verdict.recovery["takeover_s"]["max"], 15, "s", timing=True),
                ],
                load=f"{total} messages at {RATE:g}/s and 2 of {long_ms / 1000:g} s, 2 machines, cut for {cut_s:g} s",
                counts={"late_answers_refused": refused},
            )
