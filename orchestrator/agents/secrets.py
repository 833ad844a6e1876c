"""What `secrets.NAME` reads in a worker, and how it is taken out of everything that leaves an attempt."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from orchestrator.agents.masks import PIECE, Mask, mask_of

Json = Any
PREFIX = "ORCHESTRATOR_SECRET_"
LEAST = 8  # characters of a secret that is taken out also where nobody asked for it


class Secrets(Mapping[str, str]):
    """`secrets.NAME`, read from `ORCHESTRATOR_SECRET_NAME` of the worker when an expression asks for it.

    Args:
        kept: those of the process that are taken out of every attempt: a handler may have one from an earlier one.

    `told` holds the values that were asked for, so that nothing of the attempt can carry them away.
    """

    def __init__(self, kept: frozenset[str] = frozenset()) -> None:
        self.told: set[str] = set()
        self._kept = kept

    def __getitem__(self, name: str) -> str:
        value = os.environ[PREFIX + name]
        self.told.update(_parts(value))
        return value

    def __iter__(self) -> Iterator[str]:
        return (key.removeprefix(PREFIX) for key in os.environ if key.startswith(PREFIX))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def mask(self) -> Mask:
        """Takes them out of texts and values."""
        return mask_of(self._kept | self.told if self.told else self._kept)

    def redact(self, text: str) -> str:
        """The text with three stars for every secret."""
        return self.mask.text(text)

    def redact_json(self, text: str) -> str:
        """The same for every text in JSON text."""
        return self.mask.json(text)

    def redact_value(self, value: Json) -> Json:
        """The same for every text in a JSON value."""
        return self.mask.value(value)

    def redact_id(self, text: str) -> str:
        """The same for what tells things apart: other secrets give other ids, of which nobody gets back to them."""
        hidden = self.mask.text(text)
        return text if hidden == text else f"{hidden}{sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"


def kept_secrets() -> frozenset[str]:
    """All secrets of this process but the shortest, which are parts of ordinary words."""
    values = (value for name, value in os.environ.items() if name.startswith(PREFIX))
    return frozenset(part for value in values for part in _parts(value) if len(part) >= LEAST)


def _parts(value: str) -> set[str]:
    """The value, and each line of a longer one, of a key say; nothing of a blank one."""
    lines = (line for line in value.splitlines() if len(line) >= PIECE)
    return {part for part in (value, *lines) if part.strip()}
