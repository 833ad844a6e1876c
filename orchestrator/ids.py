"""Ids: new ones that sort by time and do not collide, and the parts of those of steps in a run."""

from __future__ import annotations

import re
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_BASE = re.compile(r"[^\[~]+")


def new_id() -> str:
    """18 characters: 10 of the time in milliseconds, 8 random ones (40 bits)."""
    value = (time.time_ns() // 1_000_000) << 40 | secrets.randbits(40)
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(80, -1, -10)])


def time_of(any_id: str) -> int | None:
    """When an id was made, ms since the epoch by the clock of who made it; None: it is none of ours."""
    if len(any_id) != 18 or not set(any_id) <= set(_ALPHABET):
        return None
    value = 0
    for letter in any_id:
        value = value << 5 | _ALPHABET.index(letter)
    return value >> 40


def base_of(step_id: str) -> str:
    """The id in the plan of an id in a run: without the numbers of items and rounds."""
    found = _BASE.match(step_id)
    return found[0] if found else step_id


def visible_id(step_id: str) -> str:
    """The id as people see it: the only step of an item goes by the item's id."""
    return step_id.replace(".item[", "[")
