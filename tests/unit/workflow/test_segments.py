from __future__ import annotations

import pytest

from orchestrator.workflow.plan import Plan
from orchestrator.workflow.segments import Fan, Window, dispatch_table, segments
from tests.unit.workflow.texts import TEAM, plan_of


def plan(text: str) -> Plan:
    """`a` is a step of an agent."""
    return plan_of(text.replace("@", "agent: clerk"), TEAM)


def row(count: int) -> Plan:
    return plan("".join(f"- {{id: s{at}, @}}\n" for at in range(count)))


def test_a_row_is_cut_into_windows() -> None:
    windows = segments(row(10), window=4, chord_width=100)
    assert windows == (
        Window(("s0", "s1", "s2", "s3")), Window(("s4", "s5", "s6", "s7")), Window(("s8", "s9")),
    )  # fmt: skip


@pytest.mark.parametrize("window", [1, 2, 4, 20])
def test_a_chain_is_never_longer_than_the_window_and_starts_anywhere(window: int) -> None:
    table = dispatch_table(row(21), window=window, chord_width=100)
    assert set(table) == {f"s{at}" for at in range(21)}
    for name, entry in table.items():
        ids = [sig[0] for sig in entry["chain"]]
        first = int(name[1:])
        assert ids == [f"s{at}" for at in range(first, min(21, first - first % window + window))]


def test_a_signature_holds_what_a_message_needs() -> None:
    table = dispatch_table(plan("- {id: a, @, priority: high, timeout: 3s}"))
    assert table == {"a": {"chain": [["a", "clerk", "note", "high", 3000]]}}


def test_a_step_that_decides_ends_a_window() -> None:
    table = dispatch_table(
        plan("""- {id: a, @}
- {id: b, @, when: true}
- {id: c, @}
- {id: d, set: {}}
- {id: e, @, foreach: [1]}
- {id: f, @}
""")
    )
    assert {name: [sig[0] for sig in entry["chain"]] for name, entry in table.items()} == {
        "a": ["a"], "c": ["c"], "f": ["f"],
    }  # fmt: skip


FAN = """- {id: a, @}
- parallel:
    - {id: b, @}
    - steps: [{id: c, @}, {id: d, @}]
- {id: e, @}
- {id: f, @}
"""


def test_branches_that_start_together_and_end_in_one_step_are_a_fan() -> None:
    assert segments(plan(FAN)) == (
        Window(("a",)),
        Fan("fan-e", (Window(("b",)), Window(("c", "d"))), "e"),
        Window(("e", "f")),
    )


def test_only_the_heads_of_a_fan_know_the_fan() -> None:
    table = dispatch_table(plan(FAN))
    fan = {"id": "fan-e", "width": 2, "body": ["e", "clerk", "note", None, None]}
    assert {name: entry.get("fan") for name, entry in table.items()} == {
        "a": None, "b": fan, "c": fan, "d": None, "e": None, "f": None,
    }  # fmt: skip


def test_a_fan_may_be_the_start() -> None:
    (fan, _) = segments(plan("- parallel: [{id: a, @}, {id: b, @}]\n- {id: c, @}\n"))
    assert isinstance(fan, Fan)


@pytest.mark.parametrize(
    "text",
    [
        # the body decides something
        "- parallel: [{id: a, @}, {id: b, @}]\n- {id: c, @, when: true}\n",
        # one tail has another follower
        "- parallel: [{id: a, @}, {id: b, @}]\n- {id: c, @}\n- {id: d, @, needs: [a]}\n",
        # the heads do not start together
        "- {id: z, @}\n- {id: a, @}\n- {id: y, @, needs: [z]}\n- {id: b, @, needs: []}\n- {id: c, @, needs: [a, b]}\n",
        # a header element decides something
        "- parallel: [{id: a, @}, {id: b, set: {}}]\n- {id: c, @}\n",
    ],
)
def test_what_is_no_fan_goes_out_as_windows(text: str) -> None:
    assert not any(isinstance(segment, Fan) for segment in segments(plan(text)))


def test_a_fan_is_never_wider_than_a_chord() -> None:
    wide = plan("- parallel:\n" + "".join(f"    - {{id: s{at}, @}}\n" for at in range(5)) + "- {id: e, @}\n")
    assert any(isinstance(segment, Fan) for segment in segments(wide, chord_width=5))
    assert not any(isinstance(segment, Fan) for segment in segments(wide, chord_width=4))
    assert not any(isinstance(segment, Fan) for segment in segments(wide, chord_width=0))
    assert set(dispatch_table(wide, chord_width=0)) == {step.id for step in wide.steps}


def test_bytes_of_the_table_grow_with_the_steps_only() -> None:
    few, many = (len(str(dispatch_table(row(count)))) for count in (50, 400))
    assert many < 9 * few
