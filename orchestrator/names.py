"""What agents, workflows, steps and tasks may be called, at every door: files, Python, the command line and the web.

One form for all: it is safe in a key, a queue, a path, a URL and a pattern, is never read as an option, and no two
names look alike.
"""

from __future__ import annotations

import re

NAME = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
NAME_RULE = "use a-z, 0-9, '_' and '-', a letter first, 63 at most"
#: No agent and no workflow: words that mean everybody, and files that some systems take for devices.
RESERVED = frozenset(
    ("all", "broadcast", "con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)))
)


def wrong_name(name: str) -> str | None:
    """What is wrong with the name of a step or a task, or None."""
    return None if isinstance(name, str) and NAME.fullmatch(name) else NAME_RULE


def wrong_address(name: str) -> str | None:
    """What is wrong with the name of an agent or a workflow, or None."""
    return wrong_name(name) or (f"{name!r} is a reserved word; choose another name" if name in RESERVED else None)


WORD_RULE = "is no text of 1 to 500 characters without control characters"


def is_word(text: object) -> bool:
    """Whether it can be part of a key: a thread's id, an idempotency key."""
    return isinstance(text, str) and 0 < len(text) <= 500 and text.isprintable()
