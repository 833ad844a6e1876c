"""Regular expressions that a file brings along. They run in time that grows with the text alone.

Python's own engine takes exponential time for some, such as `(a+)+$`, and cannot be stopped. That of pydantic (Rust)
knows neither look-around nor back references.
"""

from __future__ import annotations

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema


def wrong_pattern(pattern: str) -> str | None:
    """What is wrong with a pattern, or None."""
    try:
        _validator(pattern)
    except SchemaError as error:
        reason = str(error).strip().splitlines()[-1].strip().removeprefix("error: ").removeprefix("SchemaError: ")
        return f"is no regular expression: {reason}"
    return None


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in the text, as JSON Schema has it."""
    return _validator(pattern).isinstance_python(text)


@lru_cache(maxsize=256)
def _validator(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
