"""What an entry in the table of routes says, and what a call of it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from orchestrator.client import Client

Json = Any
MOST = 1000  # entries in one answer


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked against its route. It runs in a thread, where it may wait for the store."""

    client: Client
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Json] = field(default_factory=dict)
    body: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Args:
        path: behind `/workflows/api`, with `{name}` for what varies.
        name: the operation's id.
        does: one sentence.
        answer: the name of the schema of what it answers.
        run: gives the document; None: it is a stream, see `events.py`.
        query: parameter -> its JSON Schema; one with a default need not be given.
        body: the JSON Schema of the body.
        refusals: further statuses that it may answer with.
        compiles: it may take seconds of computing, for a definition that somebody sends.
    """

    method: str
    path: str
    name: str
    does: str
    answer: str
    run: Callable[[Call], Json] | None
    status: HTTPStatus = HTTPStatus.OK
    query: Mapping[str, Json] = field(default_factory=dict)
    body: Json = None
    refusals: tuple[HTTPStatus, ...] = ()
    compiles: bool = False
