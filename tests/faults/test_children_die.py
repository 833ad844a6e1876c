"""F04: only the child process of a pool dies, by the out-of-memory killer, `os._exit` or a crash in C, or it runs into
its limit of memory. The worker's main process lives, so nobody waits for a lease."""

from __future__ import annotations

from itertools import pairwise

import pytest

from orchestrator import Client
from orchestrator.records import StepError
from tests.faults.agents import ONE
from tests.faults.checker import summary
from tests.faults.oracle import Book, Fate
from tests.faults.trial import Target, Trial

TASKS = 100  # messages, and as many runs
WORKERS, CONCURRENCY = 2, 2
RATE = 1.0  # of each a second: each costs a process, which takes a moment to replace
MEMORY_BYTES = 300_000_000
#: How a child ends, and what the error says. The out-of-memory killer sends signal 9.
ENDS = {
    "die": "worker process died (signal 9)",
    "exit": "worker process died (exit code 3)",
    "segfault": "worker process died (signal 11)",
    "eat": "MemoryError",
}
KINDS = list(ENDS)
WORKFLOW = ONE + "defaults: {retry: {max_attempts: 3, delay: 1s}}\n"


@pytest.mark.fault("F04", "only the child of a pool dies: memory, `os._exit`, segfault")
@pytest.mark.timeout(300)
def test_the_work_of_a_dead_child_is_taken_back_at_once(trial: Trial) -> None:
    total = max(trial.scale(TASKS), 2 * len(KINDS))
    fleet = trial.fleet()
    fleet.start("alpha", each=WORKERS, concurrency=CONCURRENCY, before=("prlimit", f"--as={MEMORY_BYTES}"))
    # Most kill one child each, the last of each kind every child that tries.
    told = [{"kind": KINDS[n % len(KINDS)], "times": 1 if n < total else 1000} for n in range(total + len(KINDS))]
    messages = trial.messages(fleet, len(told), body=lambda number: told[number], rate=RATE)
    runs = trial.runs(fleet, len(told), workflow=WORKFLOW, inputs=lambda number: told[number], rate=RATE)
    with messages, runs:
        pass
    lethal = {f"{kind}-{number}" for kind in "mr" for number in range(total, len(told))}
    verdict = trial.judge(fleet, steps=("only",), endings=lambda key: {"dead", "failed"} if key in lethal else None)
    book = Book.read(trial.oracle)
    silent = []
    for key, fate in book.fates.items():
        says = ENDS[str(told[int(key[2:])]["kind"])]
        errors = [f"{error.type}: {error.message}" for error in errors_of(fleet.client, fate)]
        if (fate.kind == "message" or key in lethal) and not errors:
            silent.append(f"{key}: no error")
        silent += [f"{key}: {error!r} does not say {says!r}" for error in errors if says not in error]
    print("\n".join(silent))
    noticed_s = [gap for fate in book.fates.values() for gap in times_to_loss(fleet.client, fate)]
    again = summary(
        [after.start_s - before.start_s for tries in book.tries_of.values() for before, after in pairwise(tries)]
    )
    trial.report(
        verdict,
        [
            Target("lost", verdict.counts["lost"], 0),
            Target("errors that do not say how the process died", len(silent), 0),
            Target("death noticed at the latest", max(noticed_s), 5, "s", timing=True),
            Target("starts again p95", again["p95"], 5, "s", timing=True),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{len(told)} messages and {len(told)} runs, each kills a child, {WORKERS} workers x {CONCURRENCY}",
        counts={"deaths": len(noticed_s)},
    )


def errors_of(client: Client, fate: Fate) -> list[StepError]:
    """What is kept of the attempts of a message; of a run, why its step was tried again or has failed."""
    if fate.kind == "message":
        return [tried.error for tried in client.message(str(fate.id)).attempts if tried.error]
    ends = [event for event in client.run(str(fate.id)).events() if event.name in ("step.retrying", "step.failed")]
    return [error for event in ends if (error := StepError.from_json(event.data))]


def times_to_loss(client: Client, fate: Fate) -> list[float]:
    """Seconds from the beginning of each attempt whose process died, which it did at once, to the record of that."""
    if fate.kind == "message":
        tries = client.message(str(fate.id)).attempts
        lost = [tried for tried in tries if tried.error and tried.error.type == "WorkerLost"]
        return [((tried.ended_at or 0) - tried.started_at) / 1000 for tried in lost]
    events = [event for event in client.run(str(fate.id)).events() if event.name in ("step.started", "step.lost")]
    return [(after.at - before.at) / 1000 for before, after in pairwise(events) if after.name == "step.lost"]
