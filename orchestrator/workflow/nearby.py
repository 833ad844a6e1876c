"""Words for error messages: `did you mean`, and lists of names that stay short."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 12


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean x?)` if one of the known names is near, else nothing."""
    names = {known_name.lower(): known_name for known_name in known}
    # difflib is slow on thousands of names; a length far off cannot be near.
    near = [key for key in names if abs(len(key) - len(name)) <= max(2, len(name) // 2)]
    found = get_close_matches(name.lower(), near, n=1, cutoff=0.6)
    return f" (did you mean {names[found[0]]}?)" if found else ""


def listed(names: Iterable[str]) -> str:
    """The names with commas, at most a dozen of them; `none` if there are none."""
    all_names = list(names) or ["none"]
    shown = ", ".join(name if len(name) <= 60 else name[:57] + "..." for name in all_names[:SHOWN])
    return shown if len(all_names) <= SHOWN else f"{shown} and {len(all_names) - SHOWN} more"
