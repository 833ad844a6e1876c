"""F02: `kill -9` at every place that `orchestrator.crashpoints` knows. Each has an agent and a worker of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator import Client, DeliveryOptions, Settings
from orchestrator.crashpoints import VARIABLE, CrashPoint
from tests.faults import senders
from tests.faults.agents import CHAIN_STEPS, chain_outputs
from tests.faults.checker import Checker
from tests.faults.fleet import Fleet, is_killed
from tests.faults.oracle import Book, Pen
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

AGENTS = Path(__file__).with_name("crash_agents.py")
RUNS = 50  # for each point, and as many messages
LEASE_S = 1.0
#: The how many-th pass kills. A child of a pool is forked anew at once, a worker has to start again. One pop and one
#: acknowledgement stand for a whole burst, so that few come; each acknowledgement is progress.
NTH = dict.fromkeys(CrashPoint, 2) | {CrashPoint.ACKED: 1, CrashPoint.SWEPT: 4}
SWEPT_RATE = 5.0  # runs a second, and messages
CHILD_DIED = re.compile(r"died \(signal 9\) while it ran \S+ (\S+)")
SETTLE_S = 400

CHAIN = """
name: chain
defaults: {retry: {max_attempts: 2, delay: 200ms}}
inputs:
  key: {type: string}
  kind: {type: string, default: note}
steps:
  - id: first
    agent: AGENT
    task: link
    with: {key: "${{ inputs.key }}", kind: "${{ inputs.kind }}", times: 1, got: "${{ inputs.key }}"}
  - id: second
    agent: AGENT
    task: link
    with: {key: "${{ inputs.key }}", kind: "${{ inputs.kind }}", times: 1, got: "${{ steps.first.output }}"}
  - id: third
    agent: AGENT
    task: link
    with:
      key: "${{ inputs.key }}"
      kind: "${{ inputs.kind }}"
      times: 1
      got: ["${{ steps.first.output }}", "${{ steps.second.output }}"]
outputs:
  hash: "${{ steps.third.output }}"
"""


def runs_of(client: Client, oracle: Path, point: str, total: int) -> senders.Sender:
    """Where the keeper dies, it needs something to do, again and again: each first attempt fails there."""
    inputs, rate = ({"kind": "raise"}, SWEPT_RATE) if point == CrashPoint.SWEPT else ({}, None)
    chain = CHAIN.replace("AGENT", point)
    return senders.runs(client, oracle, total, workflow=chain, name=f"r-{point}", inputs=inputs, rate=rate)


def messages_of(client: Client, oracle: Path, point: str, total: int) -> senders.Sender:
    body, rate = ({"kind": "raise", "times": 1}, SWEPT_RATE) if point == CrashPoint.SWEPT else ({}, None)
    soon = {"delivery_options": DeliveryOptions(retry_delay_seconds=0.2)}
    return senders.messages(client, oracle, total, to=(point,), name=f"m-{point}", body=body, options=soon, rate=rate)


@pytest.mark.fault("F02", "`kill -9` at each crash point", star=True)
@pytest.mark.every_commit
@pytest.mark.timeout(1200)
def test_every_run_and_message_ends_right_wherever_a_process_dies(trial: Trial) -> None:
    total = trial.scale(RUNS)
    fleet = trial.fleet(agents=AGENTS, lease_s=LEASE_S, max_losses=10_000)
    died: Counter[str] = Counter()
    # The keeper that dies is alone in its turn: with another worker there, that one would lead.
    for points in ({CrashPoint.SWEPT}, set(CrashPoint) - {CrashPoint.SWEPT}):
        for point in points:
            told = {} if point is CrashPoint.ACCEPTED else {VARIABLE: f"{point}:{NTH[point]}"}
            fleet.start(point, concurrency=1, supervised=False, wait=False, environment=told)
        wait_until(lambda: points <= set(fleet.online()), what="the workers", timeout_s=60)  # noqa: B023
        if CrashPoint.ACCEPTED in points:
            died[CrashPoint.ACCEPTED] = submit_and_die(fleet, trial.oracle, total)
        send = [make(fleet.client, trial.oracle, point, total) for point in points for make in (runs_of, messages_of)]
        with ExitStack() as stack:
            for sender in send:
                stack.enter_context(sender)
        await_the_end(fleet, trial.oracle, died)
        for worker in list(fleet.workers):
            worker.kill()
            fleet.workers.remove(worker)
    verdict = trial.judge(fleet, outputs=chain_outputs, steps=CHAIN_STEPS)
    died += children_died(fleet.log, Book.read(trial.oracle))
    items = 2 * total * len(CrashPoint)
    trial.report(
        verdict,
        [
            Target("wrong", items - verdict.counts["ok"], 0),
            Target("points where nobody died", len(set(CrashPoint) - set(died)), 0),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{total} runs of 3 steps and {total} messages at each of {len(CrashPoint)} points, lease {LEASE_S:g} s",
        counts={"crashes": sum(died.values()), **{f"crashes {point}": died[point] for point in CrashPoint}},
    )


def await_the_end(fleet: Fleet, oracle: Path, died: Counter[str]) -> None:
    """Until everything is over, start again what has died."""
    checker = Checker(fleet.client, oracle)
    with ThreadPoolExecutor(1) as pool:
        over = pool.submit(checker.settle, SETTLE_S)
        while not wait([over], timeout=0.1).done:
            for worker in [worker for worker in fleet.workers if not worker.alive]:
                died[worker.agent] += worker.process.returncode == -signal.SIGKILL
                worker.kill()  # what is left of its pool
                told = {VARIABLE: f"{worker.agent}:{NTH[CrashPoint(worker.agent)]}"}
                fleet.replace(worker, concurrency=1, supervised=False, environment=told)


def children_died(log: str, book: Book) -> Counter[str]:
    """point -> how many children of its worker's pool have died, as the worker says."""
    keys = {str(fate.id): key for key, fate in book.fates.items()}
    ids = [re.sub("^message:", "", told).partition(":")[0] for told in CHILD_DIED.findall(log)]
    return Counter(keys[one].split("-")[1] for one in ids if one in keys)


# --- the submitter ---------------------------------------------------------------------------------------------------


def submit_and_die(fleet: Fleet, oracle: Path, total: int) -> int:
    """So many runs and messages whose senders die when they are accepted. Returns how many have died.

    Their keys are those of `runs_of` and `messages_of`: to ask for them again gives their ids, and starts nothing.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(oracle), str(total)], cwd=fleet.folder, stdin=subprocess.DEVNULL,
        env={**fleet.environment, VARIABLE: CrashPoint.ACCEPTED}, stdout=subprocess.PIPE, timeout=120,
        check=True,
    )  # fmt: skip
    return int(done.stdout)


def _main(oracle: Path, total: int) -> None:
    client, point = Client(Settings.load()), str(CrashPoint.ACCEPTED)
    pen = Pen(oracle, "dying-sender")
    made = {"run": runs_of(client, oracle, point, 0), "message": messages_of(client, oracle, point, 0)}
    died = 0
    for kind, sender in made.items():
        for number in range(total):
            key = f"{kind[0]}-{point}-{number}"
            pen.write("try", key, kind=kind)
            died += is_killed(lambda: sender._send(number, key))  # noqa: B023
            pen.write("indeterminate", key)
    print(died)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
