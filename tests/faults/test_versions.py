"""F33: old workers and new work, new workers and old work, and the upgrade of one to the other while both go on."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.faults.agents import CHAIN, CHAIN_STEPS, NAMES, chain_outputs
from tests.faults.fleet import Fleet
from tests.faults.newer import BEFORE
from tests.faults.oracle import Book
from tests.faults.senders import sender_process
from tests.faults.trial import Target, Trial
from tests.waiting import wait_until

RUNS = 200  # and as many messages; half of each of the newer schema
AGENTS = NAMES[:3]
HANDLER_MS = 50
WAITS = "waits for a worker of a newer version"
#: What a newer version may have written beside what this one knows: in the hash, and in a step's record.
NOVELTY = ("novelty", "kept")
MARK_STEP = """
local step = cjson.decode(redis.call('HGET', KEYS[1], ARGV[1]))
step[ARGV[2]] = ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(step))
"""


@pytest.mark.fault("F33", "old workers and new work, new workers and old work, rolling upgrade")
@pytest.mark.timeout(400)
def test_work_of_a_newer_version_waits_for_its_workers(trial: Trial) -> None:
    total = trial.scale(RUNS) // 2
    fleet = trial.fleet()
    fleet.start(*AGENTS, concurrency=2)
    told: dict[str, Any] = {"url": fleet.client.url, "oracle": trial.oracle, "total": total}
    for words in (
        sender_process(**told, kind="run", name="newrun", inputs={"ms": HANDLER_MS}),
        sender_process(**told, name="newmessage", to=AGENTS, body={"ms": HANDLER_MS}),
    ):
        subprocess.run([*BEFORE, *words], check=True, timeout=120, env=fleet.environment)
    fates = Book.read(trial.oracle).fates.values()
    ids = {kind: [str(fate.id) for fate in fates if fate.kind == kind] for kind in ("run", "message")}
    wait_until(lambda: all_parked(fleet, **ids), what="the newer work to be parked", timeout_s=60, every_s=0.2)
    mark(fleet, **ids)
    # From now on the file says something else; what runs keeps what it was started with.
    (trial.folder / "workflow-newrun.yaml").write_text(CHAIN.replace("steps.third.output", "steps.first.output"))
    with (
        trial.runs(fleet, total, inputs={"ms": HANDLER_MS}, rate=total / 5),
        trial.messages(fleet, total, to=AGENTS, body={"ms": HANDLER_MS}, rate=total / 5),
    ):
        too_old = upgrade(fleet)
    verdict = trial.judge(fleet, outputs=chain_outputs, steps=CHAIN_STEPS)
    tries = [one for one in Book.read(trial.oracle).tries if one.key.startswith("new")]
    trial.report(
        verdict,
        [
            Target("lost", verdict.counts["lost"], 0),
            Target("not done", 4 * total - verdict.counts["ok"], 0),
            Target("done by a worker that is too old", sum(one.pid in too_old for one in tries), 0),
            Target("unknown fields lost", unmarked(fleet, **ids), 0),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{2 * total} runs of 3 steps and {2 * total} messages, half of a newer schema; 3 workers upgraded",
        counts={"parked": 2 * total, "runs": 2 * total},
    )


def all_parked(fleet: Fleet, run: list[str], message: list[str]) -> bool:
    steps = [fleet.client.store.read_steps(run_id)[CHAIN_STEPS[0]] for run_id in run]
    return all(record.reason == WAITS for record in [*steps, *fleet.client.office.inbox.read_many(message)])


def mark(fleet: Fleet, run: list[str], message: list[str]) -> None:
    redis, keys = fleet.client.store.client, fleet.client.store.keys
    for key in [*map(keys.run, run), *map(keys.message, message)]:
        redis.hset(key, *NOVELTY)
    for run_id in run:
        redis.eval(MARK_STEP, 1, keys.steps(run_id), CHAIN_STEPS[0], *NOVELTY)


def unmarked(fleet: Fleet, run: list[str], message: list[str]) -> int:
    redis, keys = fleet.client.store.client, fleet.client.store.keys
    kept = [redis.hget(key, NOVELTY[0]) for key in [*map(keys.run, run), *map(keys.message, message)]]
    kept += [json.loads(redis.hget(keys.steps(run_id), CHAIN_STEPS[0])).get(NOVELTY[0]) for run_id in run]
    return sum(value != NOVELTY[1] for value in kept)


def upgrade(fleet: Fleet) -> set[int]:
    """Put a newer worker in the place of each, one after the other. Returns the processes that were too old."""
    too_old = set()
    for worker in list(fleet.workers):
        fleet.start(worker.agent, concurrency=2, before=BEFORE)
        too_old |= set(worker.pids())
        worker.term()
        worker.wait(30)
        fleet.workers.remove(worker)
    return too_old
