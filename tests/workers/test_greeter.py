"""The agent `greeter` of the small examples."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from workers.greeter import Greeting, card, deliver, greet


def attempt(number: int) -> Any:
    return SimpleNamespace(attempt=number)


def test_greetings_join_on_a_card() -> None:
    assert card([greet("Ada"), greet("Alan", greeting="Dear")]) == Greeting(text="Hello, Ada!\nDear, Alan!")


def test_a_blank_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="the name is blank"):
        greet("  ")


def test_delivery_succeeds_after_the_busy_attempts() -> None:
    for number in (1, 2):
        with pytest.raises(ConnectionError, match="busy"):
            deliver("abc", attempt(number), busy_attempts=2)
    assert deliver("abc", attempt(3), busy_attempts=2) == {"characters": 3, "attempt": 3}
