"""Takes values that nobody shall see out of texts, in every form in which others write them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache, partial
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic_core import PydanticSerializationError, to_jsonable_python

Json = Any
STARS = "***"
PIECE = 16  # characters: as much of the beginning or the end of a value counts as the value
_WORDS = re.compile(r"[A-Za-z0-9]+")
_PERCENT = re.compile(r"%[0-9A-F]{2}")


@lru_cache(maxsize=64)
def mask_of(values: frozenset[str]) -> Mask:
    """The mask of these values, made once."""
    return Mask(values)


class Mask:
    """Writes three stars for values, also where they are quoted as Python, JSON (in JSON) or an address does it, and
    where somebody else has cut them short: libraries show the two ends of a long value.
    """

    def __init__(self, values: frozenset[str]) -> None:
        self._values = values - {""}

    def text(self, text: str) -> str:
        """The text without the values. Takes a time that grows with the text's length alone."""
        if not self.may_stand_in(text):
            return text
        for form in self._forms:
            text = text.replace(form, STARS)
        for form in self._forms:
            text = _without_ends(text, form)
        return text

    def value(self, value: Json) -> Json:
        """The same for every text in a value that JSON can say, the names in objects too."""
        try:
            return self._value(value) if self._values else value
        except (RecursionError, PydanticSerializationError):
            return value  # whoever encodes it refuses it

    def _value(self, value: Json) -> Json:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            named = ((self.text(name) if isinstance(name, str) else name, item) for name, item in value.items())
            return {name: self._value(item) for name, item in named}
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return self._value(to_jsonable_python(value, inf_nan_mode="constants"))  # of a model, say

    def json(self, text: str) -> str:
        """The same for every text in JSON text: what is no text, and what holds it together, stays."""
        if not self.may_stand_in(text):
            return text
        return json.dumps(self.value(json.loads(text)), ensure_ascii=False, separators=(",", ":"))

    def may_stand_in(self, text: str) -> bool:
        """Whether it is worth a closer look. False is sure, also of a text that is quoted once more."""
        return any(anchor in text for anchor in self._anchors)

    @cached_property
    def _anchors(self) -> tuple[str, ...]:
        """The longest row of letters and digits in each piece: they stay as they are however a text is quoted."""
        pieces = {piece for form in self._forms for piece in (form[:PIECE], form[-PIECE:])}
        return tuple({max(_WORDS.findall(piece), key=len, default="") for piece in pieces})

    @cached_property
    def _forms(self) -> list[str]:
        """Longer ones first: one may be part of another."""
        forms = {form for value in self._values for form in _forms_of(value)}
        return sorted(forms, key=lambda form: (-len(form), form))


def _forms_of(value: str) -> set[str]:
    found = set()
    for plain in {value, value.strip()} - {""}:
        escaped = plain.replace("\\", "\\\\")
        texts = {json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]}
        texts |= {text.replace("/", "\\/") for text in texts}
        texts |= {json.dumps(text, ensure_ascii=False)[1:-1] for text in texts}
        addresses = {quote(plain, safe, errors="replace") for safe in ("", "/")} | {quote_plus(plain, errors="replace")}
        addresses |= {_PERCENT.sub(lambda found: found.group().lower(), address) for address in addresses}
        found |= {plain, repr(plain)[1:-1], escaped.replace("'", "\\'"), escaped.replace('"', '\\"')}
        found |= texts | addresses
    return found


def _without_ends(text: str, form: str) -> str:
    """Without the pieces that begin as the value does, or end as it does."""
    return text if len(form) <= PIECE else _cut_ends(_cut_beginnings(text, form), form)


def _cut_beginnings(text: str, form: str) -> str:
    parts, last = [], 0
    while (at := text.find(form[:PIECE], last)) >= 0:
        parts += [text[last:at], STARS]
        last = at + _most(PIECE, len(form), partial(_begins, text, form, at))
    return "".join([*parts, text[last:]])


def _cut_ends(text: str, form: str) -> str:
    parts, first = [], len(text)
    while (at := text.rfind(form[-PIECE:], 0, first)) >= 0:
        end = at + PIECE
        parts += [text[end:first], STARS]
        first = end - _most(PIECE, min(len(form), end), partial(_ends, text, form, end))
    return "".join([text[:first], *reversed(parts)])


def _begins(text: str, form: str, at: int, length: int) -> bool:
    return text.startswith(form[:length], at)


def _ends(text: str, form: str, end: int, length: int) -> bool:
    return text.endswith(form[-length:], 0, end)


def _most(least: int, most: int, holds: Callable[[int], bool]) -> int:
    """The greatest length for which it holds, as for all smaller ones; for the least it does."""
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if holds(middle) else (least, middle - 1)
    return least
