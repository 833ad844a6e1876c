"""Words for error messages: `did you mean`, and lists of names that stay short."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from itertools import islice

from orchestrator.workflow.effort import may_look_at

SHOWN = 12
_LONGEST = 64  # letters of a name, wrong or right, that is compared: difflib's time grows with the square


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean x?)` if one of the known names is near, else nothing."""
    names = known if isinstance(known, Collection) else list(known)
    if len(name) > _LONGEST or not may_look_at(len(names)):
        return ""
    # difflib is slow on thousands of names; a length far off cannot be near.
    reach = max(2, len(name) // 2)
    near = {one.lower(): one for one in names if len(one) <= _LONGEST and abs(len(one) - len(name)) <= reach}
    found = get_close_matches(name.lower(), near, n=1, cutoff=0.6)
    return f" (did you mean {near[found[0]]}?)" if found else ""


def listed(names: Iterable[str]) -> str:
    """The names with commas, at most a dozen of them; `none` if there are none."""
    all_names = names if isinstance(names, Collection) else list(names)
    shown = ", ".join(name if len(name) <= 60 else name[:57] + "..." for name in islice(all_names, SHOWN))
    more = len(all_names) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown or "none"
