"""What `docs/patterns.md` claims, proven by the traces of simulated runs; test_live.py has what those cannot show."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator import RunState, StepState
from orchestrator.testing import SimulatedRun, simulate
from tests.patterns.agents import clerk
from tests.patterns.traces import documented, file_of, play, simulated_trace

DONE, SKIPPED, CANCELLED = StepState.SUCCEEDED, StepState.SKIPPED, StepState.CANCELLED

#: pattern, which of the traces in its section, inputs, signals
TRACES: list[tuple[int, int, dict[str, Any], dict[str, Any]]] = [
    (1, 0, {}, {}),
    (2, 0, {}, {}),
    (3, 0, {}, {}),
    (4, 0, {"amount": 5000}, {}),
    (4, 1, {"amount": 500}, {}),
    (5, 0, {"cash": True}, {}),
    (5, 1, {"cash": False}, {}),
    (6, 0, {"calls": ["fire", "police"]}, {}),
    (6, 1, {"calls": []}, {}),
    (7, 0, {"calls": ["fire", "police"]}, {}),
    (9, 0, {}, {}),
    (11, 0, {}, {}),
    (12, 0, {}, {}),
    (13, 0, {}, {}),
    (14, 0, {"text": "one two"}, {}),
    (16, 0, {}, {"letter": {"from": "a customer"}}),
    (16, 1, {}, {}),
    (17, 0, {"seconds": 0}, {}),
    (21, 0, {"wanted": 3}, {}),
    (21, 1, {"wanted": 0}, {}),
    (30, 0, {}, {}),
    (31, 0, {}, {}),
    (34, 0, {}, {}),
    (37, 0, {}, {}),
    (37, 1, {"photo": False}, {}),
    (37, 2, {"text": False}, {}),
    (39, 0, {}, {}),
    (40, 0, {"seconds": 0}, {}),
    (41, 0, {}, {}),
    (42, 0, {"threads": 2}, {}),
]


@pytest.mark.parametrize(("number", "at", "inputs", "signals"), TRACES)
def test_the_document_shows_the_trace_of_a_run(
    number: int, at: int, inputs: dict[str, Any], signals: dict[str, Any]
) -> None:
    assert documented(number)[at] == simulated_trace(play(number, inputs, signals), inputs, signals)


def done(run: SimulatedRun) -> set[str]:
    """The steps that ran; the run has succeeded, and every other step was skipped."""
    assert run.status is RunState.SUCCEEDED, run.error
    assert {step.status for step in run.steps.values()} <= {DONE, SKIPPED}
    return {name for name, step in run.steps.items() if step.status is DONE}


def found(run: SimulatedRun, state: StepState) -> set[str]:
    return {name for name, step in run.steps.items() if step.status is state}


def ends(run: SimulatedRun, *steps: str) -> list[float | None]:
    return [run.steps[name].finished_s for name in steps]


def begins(run: SimulatedRun, *steps: str) -> list[float | None]:
    return [run.steps[name].started_s for name in steps]


def test_wcp01_one_step_after_the_other() -> None:
    run = play(1)
    assert run.order == ["draft", "edit", "send"]
    assert run.outputs == {"text": "a letter, edited, sent"}


def test_wcp02_both_branches_are_started() -> None:
    assert done(play(2)) == {"number", "pack", "bill"}


def test_wcp03_the_join_waits_for_the_slow_branch_and_runs_once() -> None:
    run = play(3)
    assert run.order == ["pay", "pack", "ship"]
    assert ends(run, "pay", "pack") == [0, 1]
    assert begins(run, "ship") == [1]


@pytest.mark.parametrize(("amount", "taken"), [(1001, "board"), (1000, "manager"), (101, "manager"), (100, "desk")])
def test_wcp04_the_first_branch_whose_condition_holds_is_the_only_one(amount: int, taken: str) -> None:
    assert done(play(4, {"amount": amount})) == {taken}


@pytest.mark.parametrize("cash", [True, False])
def test_wcp05_the_step_after_a_choice_runs_once_whatever_was_chosen(cash: bool) -> None:
    run = play(5, {"cash": cash})
    taken = "cash" if cash else "card"
    assert run.order == [taken, "receipt"]
    assert done(run) == {taken, "receipt"}


@pytest.mark.parametrize("calls", [["police"], ["fire", "medic"], ["police", "fire", "medic"], []])
def test_wcp06_every_branch_whose_condition_holds_is_taken(calls: list[str]) -> None:
    assert done(play(6, {"calls": calls})) == {"answer", *(calls or ["advice"])}


@pytest.mark.parametrize(("calls", "at_s"), [(["police"], 0), (["police", "fire"], 1), (["fire", "medic"], 9)])
def test_wcp07_the_merge_waits_for_the_branches_taken_and_for_no_other(calls: list[str], at_s: float) -> None:
    run = play(7, {"calls": calls})
    assert run.order[-1] == "report"
    assert run.order.count("report") == 1
    assert begins(run, "report") == [at_s]


def test_wcp09_the_first_branch_starts_the_next_step_and_the_second_changes_nothing() -> None:
    run = play(9)
    assert run.order == ["breathing", "triage", "pulse"]
    assert begins(run, "triage") == ends(run, "breathing") == [1]
    assert (ends(run, "pulse"), run.duration_s) == ([2], 2)


def test_wcp11_the_run_ends_when_nothing_is_left_to_do() -> None:
    run = play(11)
    assert run.status is RunState.SUCCEEDED
    assert (ends(run, "bill", "ship"), run.duration_s) == ([1, 2], 2)


def test_wcp12_what_started_the_instances_goes_on_without_them() -> None:
    run = play(12)
    assert run.order == ["invoice", "arrival[1]", "arrival[2]", "arrival[0]"]
    assert ends(run, "invoice") == [0]
    assert begins(run, "travel[0]", "travel[1]", "travel[2]") == [0, 0, 0], "all at the same time"
    assert run.steps["arrival[2]"].output == "parcel c", "they see the data of their run"


def test_wcp13_all_instances_of_the_file_come_before_the_next_step() -> None:
    run = play(13)
    assert sorted(run.order[:3]) == ["sign[0]", "sign[1]", "sign[2]"]
    assert run.order[3:] == ["publish"]


@pytest.mark.parametrize("text", ["one", "one two", "one two three four five"])
def test_wcp14_a_step_decides_how_many_instances_there_are(text: str) -> None:
    run = play(14, {"text": text})
    assert [step.partition("[")[0] for step in run.order] == ["each"] * len(text.split()) + ["whole"]
    assert run.outputs == {"text": text.upper()}


@pytest.mark.parametrize(("signals", "event", "taken", "at_s"), [
    ({"call": {}}, "call", "talk", 0),
    ({"letter": {}}, "letter", "reply", 0),
    ({}, "late", "escalate", 48 * 3600),
])  # fmt: skip
def test_wcp16_what_happens_first_decides(signals: dict[str, Any], event: str, taken: str, at_s: float) -> None:
    run = play(16, signals=signals)
    assert run.status is RunState.SUCCEEDED
    assert found(run, DONE) == {event, taken}
    assert found(run, CANCELLED) == {"call", "letter", "late"} - {event}
    assert ends(run, taken) == [at_s]


def test_wcp17_the_order_is_any_that_fits_the_partial_order() -> None:
    order = play(17, {"seconds": 0}).order
    assert order == ["blood", "eyes", "ears", "pressure", "report"], "pressure came after blood, and not next"


def test_wcp21_rounds_until_the_condition_holds_and_none_if_the_first_test_fails() -> None:
    run = play(21, {"wanted": 4})
    assert run.order == ["write"] * 4 + ["publish"]
    assert (run.steps["improve"].rounds, run.steps["publish"].output) == (4, "text 3")
    assert play(21, {"wanted": 0}).order == ["publish"]


def test_wcp30_two_of_three_branches_start_the_next_step_and_the_third_changes_nothing() -> None:
    run = play(30)
    assert run.order == ["legal", "board", "invoice", "finance"]
    assert begins(run, "invoice") == ends(run, "board") == [2]
    assert (ends(run, "finance"), run.duration_s) == ([3], 3)


def test_wcp31_no_branch_counts_twice_before_all_have_counted_once() -> None:
    run = play(31, {"delegations": 3})
    assert run.order == ["president", "minister", "credentials", "ambassador"] * 3
    assert run.steps["visits"].rounds == 3
    assert (begins(run, "credentials"), run.duration_s) == ([2 * 5 + 2], 3 * 5)


@pytest.mark.parametrize("samples", [3, 4, 8])
def test_wcp34_so_many_instances_start_the_next_step_and_the_others_end_after_it(samples: int) -> None:
    run = play(34, {"samples": samples})
    notes = [f"note[{at}]" for at in range(samples)]
    assert run.order == [*notes[:3], "release", *notes[3:]]
    assert run.outputs == {"release": "sample 0, sample 1, sample 2"}
    assert (begins(run, "release"), run.duration_s) == ([3], samples)


def test_wcp34_in_rounds_the_next_one_waits_for_all_instances_if_they_are_in_a_child_run(tmp_path: Path) -> None:
    shutil.copy(file_of(34), tmp_path / "examination.yaml")
    file = tmp_path / "rounds.yaml"
    file.write_text("""
name: rounds
steps:
  - id: each
    loop: {until: "${{ round.index == 1 }}", max_iterations: 2}
    steps: [{id: examination, workflow: examination.yaml, with: {samples: 4}}]
""")
    run = simulate(file, agents=[clerk])
    assert run.order == [f"examination/{step}" for step in ("note[0]", "note[1]", "note[2]", "release", "note[3]")] * 2
    assert run.duration_s == 2 * 4


@pytest.mark.parametrize(("photo", "text", "expected", "printed_s"), [
    (True, True, {"photo", "text", "caption", "layout", "print"}, 2),
    (True, False, {"photo", "caption", "layout", "print"}, 0),
    (False, True, {"text", "layout", "print"}, 2),
    (False, False, set(), 0),
])  # fmt: skip
def test_wcp37_a_merge_waits_for_what_can_still_come(
    photo: bool, text: bool, expected: set[str], printed_s: float
) -> None:
    run = play(37, {"photo": photo, "text": text})
    assert done(run) == expected
    assert ends(run, "print") == [printed_s]


def test_wcp39_one_section_ends_before_the_other_begins_and_the_rest_runs_beside_them() -> None:
    run = play(39)
    assert run.order == ["pay_in/count", "pay_in/book", "pay_out/check", "pay_out/hand_over", "statement"]
    assert ends(run, "greet", "pay_in", "pay_out") == [1, 1, 3]


def test_wcp40_each_once_and_then_the_next() -> None:
    assert play(40, {"seconds": 0}).order == ["oil", "tyres", "lights", "drive"]


def test_wcp41_the_threads_become_one() -> None:
    run = play(41)
    assert run.order == ["fold[2]", "fold[1]", "fold[0]", "bind"]
    assert begins(run, "bind") == ends(run, "copies") == [3]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_wcp42_so_many_threads_go_through_one_branch_each_at_its_own_pace(threads: int) -> None:
    run = play(42, {"threads": threads})
    assert run.order[:threads] == [f"print[{at}]" for at in range(threads)]
    assert run.order[threads:] == [f"fold[{at}]" for at in reversed(range(threads))], "the last one is dry first"
