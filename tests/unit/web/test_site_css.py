"""Every pair of colours that carries text passes WCAG AA, in the light scheme and in the dark one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import orchestrator.web
from orchestrator.states import HandoffState, MessageState, RunState, StepState

CSS = (Path(orchestrator.web.__file__).parent / "static" / "site.css").read_text()
STATES = ("pending", "running", "waiting", "succeeded", "failed", "cancelled", "skipped")
GROUNDS = ("bg", "surface")
PAIRS = [
    *((state, f"{state}-tint") for state in STATES),
    *((state, ground) for state in STATES for ground in GROUNDS),
    *((text, ground) for text in ("text", "muted", "accent", "danger") for ground in GROUNDS),
    ("on-accent", "accent"), ("on-danger", "danger"), ("running", "running-tint"),
]  # fmt: skip
AA = 4.5


def tokens(scheme: str) -> dict[str, str]:
    """The colours of a scheme; the dark one is laid over the light one."""
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return found | (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark)) if scheme == "dark" else {})


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme: str) -> None:
    found = tokens(scheme)
    low = {pair: round(contrast(found[pair[0]], found[pair[1]]), 2) for pair in PAIRS}
    assert {pair: ratio for pair, ratio in low.items() if ratio < AA} == {}


def test_both_schemes_name_the_same_colours() -> None:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2]
    names = [set(re.findall(r"--([\w-]+): #", part)) for part in (light, dark)]
    assert names[0] == names[1]


def test_every_state_has_a_look() -> None:
    looks = set(re.findall(r"\.badge\.(\w+)", CSS)) | {"pending", "offered"}
    assert {*map(str, RunState), *map(str, StepState), *map(str, MessageState), *map(str, HandoffState)} <= looks
