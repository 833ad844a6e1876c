"""F14 with real links: workers on two machines, and the cable of one is pulled under load and put back."""

from __future__ import annotations

import time

import pytest

from tests.faults.netns import machines, possible
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
NOTICED_S = 20.0  # what a worker that is cut off may need to see it


@pytest.mark.fault("F14n", "two machines, the link of one is cut without a word, and healed", star=True)
def test_the_work_of_a_machine_that_is_cut_off_is_taken_over(trial: Trial) -> None:
    cut_s = max(25.0, 60 * trial.load)
    total = round(RATE * (cut_s + 20))
    with machines("one", "two") as (one, two):
        listen = f"127.0.0.1 {one.gateway} {two.gateway}"
        with Server(trial.folder / "server", tcp=True, bind=listen, requirepass=PASSWORD) as server:
            fleet = trial.fleet(url=server.url, lease_s=LEASE_S, max_losses=1000)
            workers = [
                fleet.start(
                    "alpha", concurrency=2, before=machine.before,
                    environment={"ORCHESTRATOR_URL": f"redis://:{PASSWORD}@{machine.gateway}:{server.port}/0"},
                )[0]
                for machine in (one, two)
            ]  # fmt: skip
            names = dict(zip((one, two), sorted(fleet.online()["alpha"], key=_pid), strict=True))
            # Four long handlers, two on each machine, that are at it before the cut and end after the healing.
            long_ms = 1000 * (cut_s + 8)
            with trial.messages(fleet, 4, name="long", to=("alpha",), body={"ms": long_ms}, rate=None):
                pass
            wait_until(lambda: fleet.client.agents()[0]["running"] == 4, what="four long handlers", timeout_s=20)
            with trial.messages(fleet, total, to=("alpha",), body={"ms": HANDLER_MS}, rate=RATE):
                one.cut()
                fleet.note("fault", "link", pids=workers[0].pids("child"))
                began_s = time.monotonic()
                wait_until(
                    lambda: names[one] not in fleet.online()["alpha"], what="its absence", timeout_s=3 * LEASE_S
                )
                absent_s = time.monotonic() - began_s
                wait_until(lambda: "heartbeat: " in fleet.log, what="the worker to see it", timeout_s=cut_s)
                noticed_s = time.monotonic() - began_s
                time.sleep(max(0.0, cut_s - noticed_s))  # the length of the fault
                one.heal()
                began_s = time.monotonic()
                wait_until(lambda: names[one] in fleet.online()["alpha"], what="its return", timeout_s=30)
                back_s = time.monotonic() - began_s
            verdict = trial.judge(fleet, timeout_s=cut_s + 60)
            refused = fleet.log.count("came too late to count")
            trial.report(
                verdict,
                [
                    Target("lost", verdict.counts["lost"], 0),
                    Target("late answers refused", refused, 2, at_least=True),
                    Target("absent after", absent_s, 2 * LEASE_S, "s", timing=True),
                    Target("noticed by the worker", noticed_s, NOTICED_S, "s", timing=True),
                    Target("back after", back_s, 15, "s", timing=True),
                    Target("takeover max", verdict.recovery["takeover_s"]["max"], 15, "s", timing=True),
                ],
                load=f"{total} messages at {RATE:g}/s and 4 of {long_ms / 1000:g} s, 2 machines, cut for {cut_s:g} s",
                counts={"late_answers_refused": refused},
            )


def _pid(worker: str) -> int:
    """The number in the name of a worker; the one that started first has the smaller one."""
    return int(worker.partition("@")[0].rpartition(".")[2])
