"""Ids that sort by time and do not collide."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def new_id() -> str:
    """18 characters: 10 of the time in milliseconds, 8 random ones (40 bits)."""
    value = (time.time_ns() // 1_000_000) << 40 | secrets.randbits(40)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(85, -1, -5))
