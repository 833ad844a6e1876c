"""What docs/security.md says is not tested is what is not tested."""

from __future__ import annotations

import re
from pathlib import Path

from tests.hostile.untested import UNTESTED

DOCS = Path(__file__).parents[2] / "docs"


def test_operators_are_told_what_is_not_tested() -> None:
    _, _, rest = (DOCS / "security.md").read_text("utf-8").partition("\n## Not tested\n")
    assert dict(re.findall(r"^\| ([A-Z]-\d+) \| (.+) \|$", rest, re.MULTILINE)) == UNTESTED
