"""How the steps of a plan nest."""

from __future__ import annotations

from orchestrator.workflow.outline import DEEPEST, Part, outline
from tests.cli.texts import plan_of
from tests.factories import plan, task


def shape(parts: tuple[Part, ...]) -> list[object]:
    """Ids, and lists of what is inside; a part that is no step is a pair of its kind and its name, or its kind."""
    found: list[object] = []
    for part in parts:
        if part.kind == "step":
            found.append((part.name, shape(part.parts)) if part.parts else part.name)
        else:
            found.append((f"{part.kind} {part.name}".strip(), shape(part.parts)))
    return found


def test_steps_one_after_the_other_are_a_sequence() -> None:
    assert shape(outline(plan(task("a"), task("b", "a"), task("c", "b")))) == ["a", "b", "c"]


def test_branches_of_a_parallel_nest_and_what_follows_does_not() -> None:
    found = outline(
        plan_of(
            """
            steps:
              - {id: first, agent: a}
              - parallel:
                  - {id: facts, agent: a}
                  - steps: [{id: write, agent: a}, {id: edit, agent: a}]
              - {id: last, agent: a}
            """
        )
    )
    assert shape(found) == ["first", ("parallel", ["facts", ("lane", ["write", "edit"])]), "last"]


def test_a_container_that_the_plan_knows_by_its_id_has_its_name() -> None:
    found = outline(
        plan_of(
            """
            steps:
              - {id: race, enough: 1, parallel: [{id: a, agent: a}, {id: b, agent: a}]}
              - {id: fan, parallel: [{id: c, agent: a}, {id: d, agent: a}]}
              - {id: e, needs: [fan], agent: a}
              - {id: f, needs: [fan], agent: a}
            """
        )
    )
    assert shape(found) == [("parallel race", ["a", "b"]), ("parallel fan", ["c", "d"]), ("parallel", ["e", "f"])]


def test_groups_switches_loops_and_items_hold_what_is_inside() -> None:
    found = outline(
        plan_of(
            """
            steps:
              - id: group
                when: "${{ true }}"
                steps: [{id: a, agent: a}, {id: b, agent: a}]
              - id: route
                switch:
                  - {when: "${{ true }}", steps: [{id: c, agent: a}, {id: d, agent: a}]}
                  - {default: true, steps: [{id: e, agent: a}]}
              - id: polish
                loop: {until: "${{ true }}", max_iterations: 2}
                steps:
                  - {id: f, agent: a}
                  - parallel: [{id: g, agent: a}, {id: h, agent: a}]
              - id: each
                foreach: [1]
                steps: [{id: i, agent: a}, {id: j, foreach: [1], agent: a}]
            """
        )
    )
    assert shape(found) == [
        ("group group", ["a", "b"]),
        ("switch route", [("branch", ["c", "d"]), ("branch", ["e"])]),
        ("polish", ["f", ("parallel", ["g", "h"])]),
        ("each", ["i", "j"]),
    ]


def test_containers_nest_as_the_file_nests_them_whatever_their_steps_need() -> None:
    found = outline(
        plan_of(
            """
            steps:
              - id: both
                when: "${{ true }}"
                parallel:
                  - {id: a, agent: a}
                  - steps: [{id: b, agent: a, needs: [a]}, {id: c, agent: a}]
              - id: work
                steps:
                  - {id: d, agent: a}
                  - parallel: [{parallel: [{id: e, agent: a}, {id: f, agent: a}]}, {id: g, agent: a}]
              - steps: [{id: h, agent: a}, {id: i, agent: a}]
            """
        )
    )
    assert shape(found) == [
        ("parallel both", ["a", ("lane", ["b", "c"])]),
        ("group work", ["d", ("parallel", [("parallel", ["e", "f"]), "g"])]),
        ("lane", ["h", "i"]),
    ]


def test_a_plan_of_before_the_outline_is_flatter_and_has_every_step() -> None:
    found = plan_of(
        """
        steps:
          - id: pick
            switch: [{default: true, steps: [{id: a, agent: a}]}]
          - {id: both, when: "${{ true }}", parallel: [{id: b, agent: a}, {id: c, agent: a}]}
          - id: each
            foreach: [1]
            steps: [{parallel: [{id: d, agent: a}, {id: e, agent: a}]}, {id: f, agent: a}]
        """
    )
    found.outline.clear()
    assert shape(outline(found)) == ["a", ("parallel", ["b", "c"]), ("each", [("parallel", ["d", "e"]), "f"])]


def test_a_graph_that_cannot_be_taken_apart_stands_in_the_order_of_the_plan() -> None:
    crossed = plan(task("a"), task("b"), task("c", "a", "b"), task("d", "b"))
    assert shape(outline(crossed)) == ["a", "b", "c", "d"]


def test_gates_that_need_each_others_steps_stand_in_the_order_of_the_plan() -> None:
    found = outline(
        plan_of(
            """
            steps:
              - {id: one, when: "${{ true }}", needs: [], steps: [{id: a, agent: a}, {id: d, needs: [c], agent: a}]}
              - {id: two, when: "${{ true }}", needs: [], steps: [{id: b, agent: a}, {id: c, needs: [a], agent: a}]}
            """
        )
    )
    one, two = ("group one", [("parallel", ["a", "d"])]), ("group two", [("parallel", ["b", "c"])])
    assert shape(found) == [("parallel", [one, two])]


def test_phases_are_apart_and_compensations_in_none() -> None:
    both = plan_of(
        """
        steps: [{id: a, agent: a, compensate: {agent: a}}]
        finally: [{id: clean, agent: a}]
        """
    )
    assert (shape(outline(both)), shape(outline(both, "finally"))) == (["a"], ["clean"])


def test_what_is_nested_too_deep_stands_in_the_order_of_the_plan() -> None:
    steps = []
    for level in range(3 * DEEPEST):  # a comb: each step has a dead end and a next step behind it
        steps += [task(f"s{level}", *([f"s{level - 1}"] if level else [])), task(f"end{level}", f"s{level}")]
    parts, levels = outline(plan(*steps)), 0
    while parts:
        parts, levels = parts[-1].parts, levels + 1
    assert levels <= DEEPEST + 1
