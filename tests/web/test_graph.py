"""The picture of a plan: which box stands in which, in which column, and which edges there are."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.web.graph import ROOT, picture
from tests.cli.texts import plan_of

Units = dict[str, dict[str, Any]]


def drawn(text: str) -> Units:
    return picture(plan_of(text))


def way_up(units: Units, name: str) -> list[str]:
    """The boxes around a unit, from the inside."""
    found = []
    while name != ROOT:
        name = units[name]["parent"]
        found.append(name)
    return found


def columns(units: Units, box: str = ROOT) -> list[list[str]]:
    return [[name for name in column if name[0] != "~"] for column in units[box]["columns"]]


def edges(units: Units, box: str = ROOT) -> set[tuple[str, str]]:
    return {(edge[0], edge[1]) for edge in units[box]["edges"]}


def sets(*ids: str, needs: str = "") -> str:
    return ", ".join(f"{{id: {name}, set: {{a: 1}}{needs}}}" for name in ids)


def test_each_step_stands_right_of_all_it_needs() -> None:
    units = drawn(f"steps: [{sets('a')}, {sets('b', 'c', needs=', needs: [a]')}, {sets('d', needs=', needs: [b, c]')}]")
    assert columns(units) == [["a"], ["b", "c"], ["d"]]
    assert edges(units) == {("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")}


def test_an_edge_that_passes_other_columns_has_a_place_in_each() -> None:
    units = drawn(f"steps: [{sets('a', 'b', 'c')}, {sets('d', needs=', needs: [a, c]')}]")
    (long,) = [edge for edge in units[ROOT]["edges"] if edge[:2] == ["a", "d"]]
    assert [column for column in units[ROOT]["columns"] if set(column) & set(long[2:])] == units[ROOT]["columns"][1:3]


def test_columns_are_put_in_order_so_that_edges_do_not_cross() -> None:
    steps = f"{sets('a', 'b', needs=', needs: []')}, {sets('of-b', needs=', needs: [b]')}"
    units = drawn(f"steps: [{steps}, {sets('of-a', needs=', needs: [a]')}]")
    assert columns(units) == [["a", "b"], ["of-a", "of-b"]]


def test_boxes_nest_as_the_file_does() -> None:
    units = drawn(
        f"""
        steps:
          - id: both
            parallel:
              - steps: [{sets("one", "two")}]
              - id: again
                loop: {{until: "${{{{ true }}}}", max_iterations: 2}}
                steps:
                  - id: pick
                    switch:
                      - {{when: "${{{{ true }}}}", steps: [{sets("yes")}]}}
                      - {{default: true, steps: [{{id: each, foreach: [1], steps: [{sets("deep")}]}}]}}
          - {sets("after")}
        """
    )
    assert way_up(units, "two") == ["both.0", "both", ROOT]
    assert way_up(units, "deep") == ["each", "pick.1", "pick", "again", "both", ROOT]
    kinds = {name: units[name]["kind"] for name in ("both", "both.0", "again", "pick", "pick.1", "each", "deep")}
    assert list(kinds.values()) == ["parallel", "branch", "loop", "switch", "branch", "foreach", "set"]
    assert [units[name]["title"] for name in ("pick.0", "pick.1", "both")] == ["when true", "otherwise", "both"]
    assert edges(units) == {("both", "after")}


def test_an_edge_into_a_box_ends_at_the_box() -> None:
    units = drawn(
        f"steps: [{sets('a')}, {{parallel: [{sets('b', 'c')}]}}, {{parallel: [{sets('d', 'e')}]}}, {sets('f')}]"
    )
    assert edges(units) == {("a", "parallel.1"), ("parallel.1", "parallel.2"), ("parallel.2", "f")}
    assert edges(units, "parallel.1") == set()


def test_boxes_whose_steps_need_each_other_both_ways_are_drawn_all_the_same() -> None:
    pair = f"{{parallel: [{sets('a')}, {{id: b, set: {{x: 1}}, needs: [x]}}]}}"
    units = drawn(f"steps: [{pair}, {sets('x', needs=', needs: [a]')}]")
    assert edges(units) == {("parallel.1", "x"), ("x", "parallel.1")}
    assert columns(units) == [["parallel.1"], ["x"]]


def test_the_phases_come_one_after_the_other() -> None:
    units = drawn(
        f"steps: [{sets('a')}]\non_failure: [{sets('alert')}]\nfinally: [{{parallel: [{sets('clean', 'tidy')}]}}]"
    )
    assert columns(units) == [[".main"], [".on_failure"], [".finally"]]
    assert way_up(units, "tidy") == ["parallel.1", ".finally", ROOT]


def test_a_foreach_over_one_task_is_one_box_that_says_what_it_does() -> None:
    units = drawn("steps: [{id: all, foreach: [1, 2], agent: a, task: t, compensate: {agent: b, task: undo}}]")
    assert list(units) == [ROOT, "all"]
    assert units["all"]["about"] == "for each: a.t · undo: b.undo"


def test_a_plan_of_before_the_outline_is_drawn_without_boxes() -> None:
    plan = plan_of(f"steps: [{{parallel: [{sets('a', 'b')}]}}, {{parallel: [{sets('c', 'd')}]}}]")
    plan.outline.clear()
    units = picture(plan)
    assert {"a", "b", "c", "d"} < units.keys()
    assert all(units[name]["parent"] == ROOT for name in units)
    assert ("a", "parallel.1.end") in edges(units)


@pytest.mark.parametrize("shape", ["chain", "fan", "dense"])
def test_a_thousand_steps_are_all_there_once(shape: str) -> None:
    ids = [f"s{at}" for at in range(1000)]
    if shape == "chain":
        text = "".join(f"  - {sets(name)}\n" for name in ids)
    elif shape == "fan":
        text = f"  - parallel: [{sets(*ids)}]\n"
    else:
        needs = {name: ", ".join(ids[max(0, at - 3) : at]) for at, name in enumerate(ids)}
        text = "".join(f"  - {sets(name, needs=f', needs: [{needs[name]}]')}\n" for name in ids)
    units = drawn("steps:\n" + text)
    inside = [name for box in units.values() for column in box.get("columns", ()) for name in column]
    assert sorted(name for name in inside if name in ids) == sorted(ids)
    assert len(inside) < 6000
