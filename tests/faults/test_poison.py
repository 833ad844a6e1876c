"""F21: among much good work there is some that raises, kills its process, eats memory, hangs, or gives back what nobody
can store. It ends with its reason, and the good work hardly notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest

from orchestrator import Client
from orchestrator.records import StepError
from tests.faults.checker import Checker, percentile
from tests.faults.fleet import Fleet
from tests.faults.oracle import Book, Fate
from tests.faults.trial import Target, Trial

GOOD = 1000  # messages, and as many runs
RATE = 12.0  # of each a second
HANDLER_MS = 20
WORKERS, CONCURRENCY = 3, 2
MEMORY_BYTES = 300_000_000
TIMEOUT_S = 2

#: What is poison, how many attempts it gets, and what its error says. Of `garbage` and `huge` there is one: the same
#: result would be refused again.
POISON = {
    "raise": (3, "as told"),
    "die": (3, "worker process died (signal 9)"),
    "eat": (3, "MemoryError"),
    "garbage": (1, "not JSON"),
    "huge": (1, "the limit is"),
    "hang": (3, f"ran longer than {TIMEOUT_S} s"),
}

WORKFLOW = f"""
name: perhaps-poison
inputs:
  key: {{type: string}}
  kind: {{type: string}}
steps:
  - id: only
    agent: alpha
    task: link
    with: {{key: "${{{{ inputs.key }}}}", ms: {HANDLER_MS}, kind: "${{{{ inputs.kind }}}}"}}
    timeout: {TIMEOUT_S}s
    retry: {{max_attempts: 3, delay: 1s}}
"""


@pytest.mark.fault(
    "F21", "poison: raises, kills its process, eats memory, hangs, returns no JSON, returns 10 MB", star=True
)
@pytest.mark.timeout(500)
def test_poison_ends_with_its_reason_and_the_rest_goes_on(trial: Trial) -> None:
    total = trial.scale(GOOD)
    in_messages, in_runs = spread(total, list(POISON)), spread(total, list(POISON))
    poison = {f"m-{n}": kind for n, kind in in_messages.items()} | {f"r-{n}": kind for n, kind in in_runs.items()}
    fleet = trial.fleet(message_timeout_s=TIMEOUT_S)
    fleet.start("alpha", each=WORKERS, concurrency=CONCURRENCY, before=("prlimit", f"--as={MEMORY_BYTES}"))
    send(trial, fleet, total // 4, prefix="calm-before-")
    with watched(fleet) as short_s:
        send(trial, fleet, total, in_messages=in_messages, in_runs=in_runs)
        Checker(fleet.client, trial.oracle).settle(60)
    send(trial, fleet, total // 4, prefix="calm-after-")
    verdict = trial.judge(fleet, steps=("only",), endings=lambda key: {"dead", "failed"} if key in poison else None)
    book = Book.read(trial.oracle)
    calm, good = waits(book, "calm-before-", "calm-after-"), waits(book, "")
    wrong = [line for key, kind in poison.items() if (line := find_wrong(fleet.client, book, book.fates[key], kind))]
    print("\n".join(wrong))
    last_s = max(seconds_to_its_end(fleet.client, book.fates[key]) for key in poison)
    trial.report(
        verdict,
        [
            Target("poison that had other attempts, or another reason", len(wrong), 0),
            Target("poison ends", last_s, 60, "s", timing=True),
            Target("good ones wait p95", percentile(good, 0.95), 2 * percentile(calm, 0.95), "s", timing=True),
            Target("a process of a pool is missing", max(short_s, default=0.0), 5, "s", timing=True),
            Target("left behind", sum(fleet.left_behind().values()), 0),
        ],
        load=f"{total} messages and {total} runs, {len(poison)} of them poison, {WORKERS} workers x {CONCURRENCY}",
        counts={"poison": len(poison), "poison_wrong": len(wrong)},
        about="No JSON and too long a result are not tried again.",
    )


def spread(total: int, kinds: Sequence[str]) -> dict[int, str]:
    """One in a hundred, at least one of each kind: number -> kind."""
    count = max(total // 100, len(kinds))
    return {at * total // count: kinds[at % len(kinds)] for at in range(count)}


def send(
    trial: Trial, fleet: Fleet, total: int, *, in_messages: Mapping[int, str] | None = None,
    in_runs: Mapping[int, str] | None = None, prefix: str = "",
) -> None:  # fmt: skip
    """Messages and runs, of which those numbers are poison."""
    heard, ran = in_messages or {}, in_runs or {}
    messages = trial.messages(
        fleet, total, name=f"{prefix}m", rate=RATE,
        body=lambda number: {"ms": HANDLER_MS, "kind": heard.get(number, "note")},
    )  # fmt: skip
    runs = trial.runs(
        fleet, total, name=f"{prefix}r", rate=RATE, workflow=WORKFLOW,
        inputs=lambda number: {"kind": ran.get(number, "note")},
    )  # fmt: skip
    with messages, runs:
        pass


@contextmanager
def watched(fleet: Fleet) -> Iterator[list[float]]:
    """Notes, for each spell in which a worker had too few processes, how many seconds it took."""
    spells: list[float] = []
    over = threading.Event()

    def watch() -> None:
        since: dict[str, float] = {}
        while not over.wait(0.2):
            for worker in fleet.workers:
                if len(worker.pids("child")) < CONCURRENCY:
                    spells.append(time.monotonic() - since.setdefault(worker.name, time.monotonic()))
                else:
                    since.pop(worker.name, None)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield spells
    finally:
        over.set()
        watcher.join()


def waits(book: Book, *prefixes: str) -> list[float]:
    """Seconds from sending to the first start, of the good ones of some parts of the test."""
    names = tuple(f"{prefix}{kind}-" for prefix in prefixes for kind in "mr")
    firsts = (tries[0] for (key, _), tries in book.tries_of.items() if key.startswith(names))
    return [first.start_s - book.fates[first.key].tried_s for first in firsts if first.end_s is not None]


def find_wrong(client: Client, book: Book, fate: Fate, kind: str) -> str | None:
    """What is wrong with the end of a poisoned item."""
    attempts, reason = POISON[kind]
    step = "" if fate.kind == "message" else "only"
    ran = len(book.tries_of[fate.key, step])
    errors = errors_of(client, fate)
    if ran != attempts:
        return f"{fate.key} {kind}: {ran} attempts"
    if not errors or not all(error and reason in f"{error.type}: {error.message}" for error in errors):
        return f"{fate.key} {kind}: {errors}"
    return None


def errors_of(client: Client, fate: Fate) -> list[StepError | None]:
    """The error of each attempt, as it is kept; of a run whose step has lost its worker, only the last."""
    if fate.kind == "message":
        return [tried.error for tried in client.message(str(fate.id)).attempts]
    ends = [event for event in client.run(str(fate.id)).events() if event.name in ("step.retrying", "step.failed")]
    return [StepError.from_json(event.data) for event in ends]


def seconds_to_its_end(client: Client, fate: Fate) -> float:
    if fate.kind == "message":
        message = client.message(str(fate.id))
        return ((message.finished_at or 0) - message.message.created_at) / 1000
    run = client.run(str(fate.id)).record()
    return ((run.finished_at or 0) - run.created_at) / 1000
