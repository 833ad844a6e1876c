"""Every hostile input of the file has one test, or a reason why it has none."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.hostile.cases import Case, all_cases
from tests.hostile.untested import UNTESTED

_MARK = re.compile(r'^@pytest\.mark\.hostile\("([A-Z]-\d+)"\)', re.MULTILINE)


def marked() -> Counter[str]:
    files = Path(__file__).parent.glob("test_*.py")
    return Counter(name for file in files for name in _MARK.findall(file.read_text()))


def test_every_input_has_one_test_or_a_reason() -> None:
    tested = marked()
    assert {name: times for name, times in tested.items() if times > 1} == {}
    assert sorted([*tested, *UNTESTED]) == sorted(all_cases())


BUILT = [case for case in all_cases().values() if case.kind != "steps"]


@pytest.mark.parametrize("case", BUILT, ids=[case.id for case in BUILT])
def test_every_input_can_be_made(case: Case) -> None:
    assert len(case.variants) > 0
