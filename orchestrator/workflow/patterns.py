"""Regular expressions that a file brings along. They run in time that grows with the text alone.

Python's own engine takes exponential time for some, such as `(a+)+$`, and cannot be stopped. That of pydantic (Rust)
knows neither look-around nor back references.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

from orchestrator.workflow.effort import may_compile

_REPEATED = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")


def wrong_pattern(pattern: str) -> str | None:
    """What is wrong with a pattern, or None."""
    if not may_compile(pattern, weight(pattern)):
        return "repeats too much, by itself or with the other patterns of this file"
    try:
        _validator(pattern)
    except SchemaError as error:
        reason = str(error).strip().splitlines()[-1].strip().removeprefix("error: ").removeprefix("SchemaError: ")
        return f"is no regular expression: {reason}"
    return None


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in the text, as JSON Schema has it."""
    return _validator(pattern).isinstance_python(text)


def weight(pattern: str) -> int:
    """What a pattern costs to compile, roughly: its letters, as often as all its `{n}` repeat them together."""
    found = len(pattern)
    for least, most in _REPEATED.findall(pattern):
        found = min(found * max(int(least[:9]), int(most[:9] or 0), 1), 10**9)
    return found


@lru_cache(maxsize=32)  # of up to 10 MiB each
def _validator(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
