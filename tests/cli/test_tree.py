"""The lines of a run's tree, without a terminal."""

from __future__ import annotations

import time

import pytest

from orchestrator.cli.progress import Progress
from orchestrator.cli.tree import Tree
from orchestrator.records import Event, StepRecord
from orchestrator.states import StepState
from orchestrator.workflow.plan import Plan
from tests.cli.texts import event, plan_of
from tests.factories import foreach, plan, task

ROOM = 50
SHORT = {"succeeded": "ok", "skipped": "skip", "cancelled": "gone", "failed": "bad", "running": "runs",
         "waiting": "waits", "pending": "-"}  # fmt: skip


def lines(
    of: Plan, *happened: Event, room: int = ROOM, now: int = 0, served: set[str] | None = None,
    records: tuple[StepRecord, ...] = (),
) -> list[str]:  # fmt: skip
    """`GUIDE STATE NAME: REMARK`, a line each."""
    progress = Progress(of)
    for one in happened:
        progress.take(one)
    progress.learn(records)
    found, _ = Tree(of, "01a").lines(progress, room, now, served)
    assert len(found) <= room
    return [
        f"{line.guide}{SHORT[line.state]} {line.name}".rstrip()
        + (f": {said}" if (said := line.remark.text if line.name else line.remark.text or line.remark.command) else "")
        for line in found
    ]


def done(*names: str, at: int = 1) -> list[Event]:
    return [happened for name in names for happened in (
        event("step.started", name, at=at, attempt=1), event("step.succeeded", name, at=at + 1, attempt=1),
    )]  # fmt: skip


SHAPES = plan_of(
    """
    steps:
      - {id: first, agent: a}
      - parallel:
          - {id: facts, agent: a}
          - steps: [{id: write, agent: a}, {id: edit, agent: a}]
          - id: more
            when: "${{ true }}"
            steps: [{id: extra, agent: a}]
      - id: polish
        loop: {until: "${{ round.index == 1 }}", max_iterations: 3}
        steps: [{id: rewrite, agent: a}, {id: score, agent: a}]
      - id: route
        switch:
          - {when: "${{ false }}", steps: [{id: auto, set: {ok: true}}]}
          - {default: true, steps: [{id: sign, wait: {signal: approval}}]}
    finally: [{id: clean, agent: a}]
    """
)


def test_containers_nest_as_in_the_workflow() -> None:
    assert lines(SHAPES, event("run.created")) == [
        "- first: queued for a",
        "- parallel: 0 of 4",
        "├ - facts",
        "├ - write",
        "│ - edit",
        "└ - more (group): 0 of 1",
        "    - extra",
        "- polish",
        "  - rewrite",
        "  - score",
        "- route (switch): 0 of 2",
        "├ - when false: 0 of 1",
        "│   - auto",
        "└ - default: 0 of 1",
        "    - sign",
    ]


def test_states_go_up_to_what_is_around_and_late_steps_come_last() -> None:
    happened = [
        *done("first", "facts"), event("step.started", "write", attempt=1), event("step.failed", "edit", type="E"),
        event("step.started", "polish"), event("step.round", "polish", note="1"), event("step.started", "score"),
        event("step.skipped", "auto", note="another branch was taken"),
        event("step.waiting", "sign", note="waits for the signal approval"), event("step.started", "clean"),
    ]  # fmt: skip
    found = lines(SHAPES, *happened)
    assert found[:4] == ["ok first", "runs parallel: 2 of 4, 1 failed", "├ ok facts", "├ runs write"]
    assert found[7:9] == ["runs polish: round 2 of at most 3", "  - rewrite: queued for a"]
    assert found[10:] == [
        "waits route (switch): 1 of 2",
        "├ skip when false: 1 of 1",
        "│   skip auto: skipped, another branch was taken",
        "└ waits default: 0 of 1",
        "    waits sign: waits for the signal approval",
        "    waits: orchestrator approve 01a sign",
        "runs finally: 0 of 1",
        "  runs clean",
    ]


def test_a_step_whose_agent_nobody_serves_waits_for_a_worker() -> None:
    two = plan(task("a", agent="writer"), task("b", "a", agent="critic"))
    assert lines(two, served={"critic"}) == ["waits a: waits for a worker of agent writer", "- b"]
    assert lines(two, *done("a"), served={"critic"}) == ["ok a", "- b: queued for critic"]
    assert lines(two, *done("a"), event("run.paused"), served=set()) == ["ok a", "- b"]


def test_retries_and_waits_say_when_they_go_on() -> None:
    waits = plan_of(
        """
        steps:
          - {id: try, agent: a, retry: {max_attempts: 4}}
          - {id: sign, needs: [], wait: {signal: go, timeout: 1m}}
          - {id: sleep, needs: [], wait: {for: 1m}}
        """
    )
    happened = (
        event("step.retrying", "try", attempt=1, type="E", message="no luck"),
        event("step.waiting", "sign", note="waits for the signal go"),
        event("step.waiting", "sleep"),
    )
    records = tuple(StepRecord(name, StepState.WAITING, retry_at=63_000) for name in ("try", "sign", "sleep"))
    _, retry, sign, command, sleep = lines(waits, *happened, now=60_000, records=records)
    assert retry == "├ waits try: attempt 2 of 4, again in 3.0 s: E: no luck"
    assert sign == "├ waits sign: waits for the signal go, 3.0 s more"
    assert command == "│ waits: orchestrator approve 01a sign"
    assert sleep.startswith("└ waits sleep: waits until ")
    assert sleep.endswith(", 3.0 s more")


def test_of_a_foreach_what_runs_or_failed_is_shown_and_the_rest_counted() -> None:
    each = plan(foreach("each"))
    happened = [
        event("step.started", "each", note="9"),
        *done("each[0]", "each[1]"),
        event("step.started", "each[4]", attempt=1),
        event("step.progress", "each[4]", fraction=0.5, note="half"),
        event("step.failed", "each[3]", type="E", message="m"),
    ]
    assert lines(each, *happened) == ["runs each: 3 of 9 items, 1 failed", "├ bad [3]: E: m", "└ runs [4]: 50%, half"]


def test_of_an_item_with_steps_what_goes_on_is_shown() -> None:
    each = plan_of(
        """
        steps:
          - id: each
            foreach: [1, 2]
            steps: [{id: a, agent: w}, {id: b, agent: w}, {id: c, needs: [a], agent: w}, {id: sign, wait: {signal: go}}]
        """
    )
    happened = [event("step.started", "each", note="2"), *done("a[0]", "a[1]"), event("step.started", "b[0]")]
    assert lines(each, *happened) == ["runs each: 0 of 2 items", "├ runs [0] b", "└ runs [1]"]
    happened += [event("step.started", "c[0]"), event("step.waiting", "sign[1]", note="waits for the signal go")]
    assert lines(each, *happened) == [
        "runs each: 0 of 2 items",
        "├ runs [0]",
        "│   runs b",
        "│   runs c",
        "└ waits [1] sign: waits for the signal go",
        "  waits: orchestrator approve 01a 'sign[1]'",
    ]


CHAIN = plan(*(task(f"s{at}", *([f"s{at - 1}"] if at else [])) for at in range(1000)))
WIDE = plan_of(
    "steps:\n  - parallel:\n"
    + "".join(f"    - steps: [{{id: a{at}, agent: w}}, {{id: b{at}, agent: w}}]\n" for at in range(500))
    + "  - {id: last, agent: w}\n"
)


def test_of_a_long_chain_what_runs_stands_between_counts() -> None:
    happened = [one for at in range(400) for one in done(f"s{at}", at=at + 1)]
    assert lines(CHAIN, *happened, event("step.started", "s400"), room=6) == [
        "ok: 398 done", "ok s398", "ok s399", "runs s400", "- s401", "-: 598 to come",
    ]  # fmt: skip


def test_what_failed_runs_or_waits_goes_before_what_is_done_or_comes() -> None:
    happened = [one for at in range(100) for one in done(f"a{at}", f"b{at}")]
    happened += [event("step.started", f"a{at}") for at in range(200, 204)]
    happened += [event("step.failed", "a300", type="E"), event("step.retrying", "a400", attempt=1, type="E")]
    shown = [line.lstrip("├└│ ").split(":")[0] for line in lines(WIDE, *happened, room=20)]
    assert {"bad a300", "waits a400", *(f"runs a{at}" for at in range(200, 204))} <= set(shown)
    assert "ok" in shown


def test_failures_leave_half_of_the_room_to_what_runs() -> None:
    happened = [event("step.failed", f"a{at}", type="E") for at in range(100)]
    happened += [event("step.started", f"a{at}") for at in range(200, 300)]
    shown = [line.lstrip("├└│ ").split()[0] for line in lines(WIDE, *happened, room=40)]
    assert shown.count("bad") >= 5
    assert shown.count("runs") >= 5


@pytest.mark.parametrize("room", [1, 2, 3, 5, 10, 21, 22, 60])
@pytest.mark.parametrize("of", [CHAIN, WIDE, SHAPES], ids=["chain", "wide", "shapes"])
def test_there_are_never_more_lines_than_room(of: Plan, room: int) -> None:
    names = [step.id for step in of.steps if not step.internal and step.phase == "main"]
    third = len(names) // 3
    happened = done(*names[:third])
    happened += [event("step.started", name) for name in names[third : 2 * third]]
    found = lines(of, *happened, event("step.waiting", names[-1], note="waits for the signal x"), room=room)
    assert found
    if room >= 10:
        assert len(found) >= min(room, len(names)) - 5, "the room is used"


def test_finished_containers_fold_to_one_line() -> None:
    groups = plan_of(
        "steps:\n"
        + "".join(
            f"  - parallel: [{{id: a{at}, agent: w}}, {{id: b{at}, agent: w}}]\n" for at in range(30)
        )
    )
    happened = [one for at in range(10) for one in done(f"a{at}", f"b{at}", at=at + 1)]
    assert lines(groups, *happened, event("step.started", "a10"), room=10) == [
        "ok: 14 done",
        "ok parallel: 2 of 2",
        "ok parallel: 2 of 2",
        "ok parallel: 2 of 2",
        "runs parallel: 0 of 2",
        "├ runs a10",
        "└ - b10: queued for w",
        "- parallel: 0 of 2",
        "- parallel: 0 of 2",
        "-: 34 to come",
    ]


def test_a_picture_of_a_thousand_steps_takes_little_time() -> None:
    progress, tree = Progress(WIDE), Tree(WIDE, "01a")
    began = time.process_time()
    for _ in range(5):
        tree.lines(progress, 40, 0)
    assert (time.process_time() - began) / 5 < 0.05, "5 ms were measured; 5 a second must stay under a tenth of a core"
