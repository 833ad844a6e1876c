"""F28: wide fans and their joins, while members and whole workers die, arrive several times, or cannot succeed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import pytest

from orchestrator.events import STEP_SUCCEEDED
from orchestrator.records import Event
from tests.faults.agents import digest
from tests.faults.fleet import Fleet, Storm
from tests.faults.oracle import Book
from tests.faults.proxy import Echo
from tests.faults.trial import Target, Trial

Json = Any
RUNS = 200  # a fifth of each kind
WIDTH, ROWS = 100, 10
EACH, CONCURRENCY = 2, 2
SUBMITTED_IN_S = 40.0
KILL_EVERY_S = 3.0
LEASE_S = 1.0  # a tenth of the default: so is the time after which work of a killed worker goes on
FIRST, LAST = 0, WIDTH - 1

_INPUTS = "inputs: {key: {type: string}, members: {type: array}}"
_MEMBER = (
    'agent: alpha, task: link, with: {key: "${{ inputs.key }}", place: "member ${{ item.n }}", got: "${{ item.n }}", '
    'kind: "${{ item.kind }}", times: "${{ item.times }}"}'
)
_JOIN = '{id: join, agent: beta, task: link, with: {key: "${{ inputs.key }}", got: %s}}'


def _foreach(name: str, policy: str) -> str:
    return f"""
name: {name}
{_INPUTS}
steps:
  - {{id: member, foreach: "${{{{ inputs.members }}}}", on_item_error: {policy}, {_MEMBER}}}
  - {_JOIN % '"${{ steps.member.output }}"'}
outputs: {{hash: "${{{{ steps.join.output }}}}"}}
"""


def _nested() -> str:
    return f"""
name: nested
{_INPUTS}
steps:
  - id: row
    foreach: "${{{{ inputs.members }}}}"
    steps:
      - {{id: cell, foreach: "${{{{ item }}}}", {_MEMBER}}}
  - {_JOIN % '"${{ steps.row.output }}"'}
outputs: {{hash: "${{{{ steps.join.output }}}}"}}
"""


def _chord() -> str:
    """As a Celery chord, which a `foreach` is not."""
    members = "\n".join(
        f"      - {{id: m{n}, {_MEMBER}}}".replace("${{ item", f"${{{{ inputs.members[{n}]") for n in range(WIDTH)
    )
    outputs = ", ".join(f'"${{{{ steps.m{n}.output }}}}"' for n in range(WIDTH))
    return f"""
name: chord
{_INPUTS}
steps:
  - id: fan
    parallel:
{members}
  - {_JOIN % f"[{outputs}]"}
outputs: {{hash: "${{{{ steps.join.output }}}}"}}
"""


#: name -> the workflow. In `stops` and `skips` the last member can never succeed; in the others one kills its process.
WORKFLOWS = {
    "flat": _foreach("flat", "fail"),
    "nested": _nested(),
    "chord": _chord(),
    "stops": _foreach("stops", "fail"),
    "skips": _foreach("skips", "skip"),
}
POISONED = ("stops", "skips")


def _inputs(name: str) -> Callable[[int], dict[str, Json]]:
    odd = {LAST: ("raise", None)} if name in POISONED else {FIRST: ("die", 1)}
    kinds = [odd.get(n, ("note", None)) for n in range(WIDTH)]
    members: list[Json] = [{"n": n, "kind": kind, "times": times} for n, (kind, times) in enumerate(kinds)]
    if name == "nested":
        members = [members[at : at + ROWS] for at in range(0, WIDTH, ROWS)]
    return lambda number: {"members": members}


def _outputs(key: str) -> Json:
    name = key.split("-")[0]
    hashes = [digest(f"member {n}", n) for n in range(WIDTH)]
    got: dict[str, Json] = {
        "nested": [hashes[at : at + ROWS] for at in range(0, WIDTH, ROWS)], "skips": hashes[:LAST],
    }  # fmt: skip
    return {"hash": digest("join", got.get(name, hashes))}


def _ends(key: str) -> set[str] | None:
    return {"failed"} if key.startswith("stops") else None


def _joined_early(book: Book) -> list[str]:
    """The joins that began before every member of theirs had ended, whose results they have (I5)."""
    ends: dict[str, dict[str, float]] = defaultdict(dict)
    for one in book.tries:
        if one.step != "join" and one.end_s is not None:
            ends[one.key].setdefault(one.step, one.end_s)
    joins = [one for one in book.tries if one.step == "join"]
    return [one.key for one in joins if sum(end < one.start_s for end in ends[one.key].values()) < _members(one.key)]


def _members(key: str) -> int:
    return WIDTH - key.startswith("skips")


def _bodies(book: Book, fleet: Fleet) -> dict[str, int]:
    """key -> how many results of its join are recorded."""
    return {fate.key: _recorded(fleet.client.run(str(fate.id)).events()) for fate in book.fates.values() if fate.id}


def _recorded(events: Iterable[Event]) -> int:
    return sum(event.name == STEP_SUCCEEDED and event.step == "join" for event in events)


@pytest.mark.fault("F28", "fan-out 100 and join: members killed, duplicated, one poisoned; nested 10 x 10", star=True)
@pytest.mark.every_commit
@pytest.mark.timeout(600)
def test_a_join_is_recorded_once_whatever_happens_to_its_members(trial: Trial) -> None:
    total = trial.scale(RUNS)
    each = total // len(WORKFLOWS)
    fleet = trial.fleet(max_losses=1000, lease_s=LEASE_S, journal_events=1_000_000)
    fleet.start("alpha", each=EACH, concurrency=CONCURRENCY)
    fleet.start("beta", concurrency=CONCURRENCY)
    storm = Storm(fleet, trial.chance, every_s=KILL_EVERY_S, concurrency=CONCURRENCY)
    pace = {"rate": each / SUBMITTED_IN_S / trial.load, "threads": 1}
    with Echo(fleet.client.url, seed=trial.seed, times=(1, 2)) as echo, storm, ExitStack() as stack:
        for name, text in WORKFLOWS.items():
            stack.enter_context(
                trial.runs(fleet, each, workflow=text, name=name, inputs=_inputs(name), **pace)
            )  # fmt: skip
    verdict = trial.judge(fleet, timeout_s=300, outputs=_outputs, endings=_ends)
    book = Book.read(trial.oracle)
    bodies = _bodies(book, fleet)
    wrong = [key for key, count in bodies.items() if count != (0 if key.startswith("stops") else 1)]
    died = len(re.findall(r"process \d+ died \(signal 9\)", fleet.log))
    assert died, "no member died"
    assert echo.pushed, "no member was duplicated"
    trial.report(
        verdict,
        [
            Target("runs whose join is not recorded as often as it should", len(wrong), 0),
            Target("joins that began too early", len(_joined_early(book)), 0),
            Target("hanging", verdict.counts["lost"], 0),
        ],
        load=f"{total} runs of {WIDTH} members and a join, {EACH} workers x {CONCURRENCY}, lease {LEASE_S:g} s",
        about="A fifth each: foreach, nested foreach, chord, a poisoned member that ends the run, one that is skipped.",
        counts={
            "runs": total, "worker kills": storm.counts["kill"], "members killed": died, "doubled": echo.pushed,
        },
    )  # fmt: skip
