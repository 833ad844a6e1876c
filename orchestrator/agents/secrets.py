"""What `secrets.NAME` reads in a worker, and how it is taken out of everything that leaves the attempt."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any
from urllib.parse import quote

Json = Any
STARS = "***"
PREFIX = "ORCHESTRATOR_SECRET_"
PIECE = 16  # characters: as much of the beginning or the end of a secret counts as the secret


class Secrets(Mapping[str, str]):
    """`secrets.NAME`, read from `ORCHESTRATOR_SECRET_NAME` of the worker when an expression asks for it.

    `told` holds the values that were asked for, so that nothing of the attempt can carry them away.
    """

    def __init__(self) -> None:
        self.told: set[str] = set()

    def __getitem__(self, name: str) -> str:
        value = os.environ[PREFIX + name]
        if value:
            self.told.add(value)
            self.told.update(line for line in value.splitlines() if len(line) >= PIECE)  # of a key, say
        return value

    def __iter__(self) -> Iterator[str]:
        return (key.removeprefix(PREFIX) for key in os.environ if key.startswith(PREFIX))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def redact(self, text: str) -> str:
        """The text with three stars for every secret that was told, also where it is quoted as Python, JSON or an
        address does, and where somebody else has cut it short: libraries show the two ends of a long value.
        """
        for value in sorted(self.told, key=len, reverse=True):
            for form in dict.fromkeys((value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value, safe=""))):
                text = _without_ends(text.replace(form, STARS), form)
        return text

    def redact_json(self, text: str) -> str:
        """The same for every text in JSON text: what is no text, and what holds it together, stays."""
        if not self.told:
            return text
        return json.dumps(self.redact_value(json.loads(text)), ensure_ascii=False, separators=(",", ":"))

    def redact_value(self, value: Json) -> Json:
        """The same for every text in a JSON value, the names in objects too."""
        if not self.told:
            return value
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self.redact_value(name): self.redact_value(item) for name, item in value.items()}
        return [self.redact_value(item) for item in value] if isinstance(value, (list, tuple)) else value


def _without_ends(text: str, secret: str) -> str:
    """Without the pieces that begin as the secret does, or end as it does."""
    if len(secret) <= PIECE:
        return text
    while (at := text.find(secret[:PIECE])) >= 0:
        end = at + _common(text[at:], secret)
        text = text[:at] + STARS + text[end:]
    while (at := text.rfind(secret[-PIECE:])) >= 0:
        end = at + PIECE
        begin = end - _common(text[:end][::-1], secret[::-1])
        text = text[:begin] + STARS + text[end:]
    return text


def _common(text: str, other: str) -> int:
    """How many characters both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))
