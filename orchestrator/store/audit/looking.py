"""How the audit looks at a server that goes on working: fast at everything, then exactly at what looked wrong.

The first look reads a record, and a moment later the places where its entries must stand; what moved in between looks
wrong. The exact look asks for both in one transaction, so that its answers are of one moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

RUN_LIVE = frozenset({"pending", "running", "paused"})
_TRIES = 20  # exact looks until one finds a record as the look before did
_BATCH = 200
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)

Part = Literal["", "queued", "leased", "waiting", "terminal"]
How = Literal["zset", "set", "field", "kept", "alive"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that the audit cannot account for.

    `part` is where it was counted, of a run, a step or a message that nothing moves on; else empty.
    """

    about: str
    id: str
    problem: str
    part: Part = field(default="", compare=False)


class Place(NamedTuple):
    """Where something must stand: a member of a zset or set, a field of a hash, a key without TTL, a run that lives."""

    how: How
    key: str
    member: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """What the audit cannot account for unless one of the places has it; without places: in any case."""

    finding: Finding
    places: tuple[Place, ...] = ()


def wrong(about: str, name: str, problem: str, part: Part = "") -> Need:
    """What is wrong in any case."""
    return Need(Finding(about, name, problem, part))


class Check(Protocol):
    """One kind of records or entries."""

    def ask(self, pipe: Any, item: str) -> None:
        """The commands that read one of them. Answers must not change by themselves, as a TTL does."""

    def examine(self, item: str, replies: list[Any]) -> Iterable[Need]:
        """What must stand where, by what was read."""


class Looker:
    """Reads in batches. `client` answers with text."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def read(self, check: Check, items: Sequence[str]) -> list[list[Any]]:
        """The replies about each item. One round trip."""
        with self._client.pipeline(transaction=False) as pipe:
            return _divide(pipe, _ask(pipe, check, items))

    def find(self, check: Check, items: Sequence[str], replies: Sequence[list[Any]]) -> list[tuple[str, Finding]]:
        """The first look: what may be wrong. One round trip."""
        needs = [
            (item, need) for item, told in zip(items, replies, strict=True) for need in _examine(check, item, told)
        ]
        places = list(dict.fromkeys(place for _, need in needs for place in need.places))
        with self._client.pipeline(transaction=False) as pipe:
            for place in places:
                _ask_place(pipe, place)
            there = _there(places, pipe.execute() if places else [])
        return [(item, need.finding) for item, need in needs if there.isdisjoint(need.places)]

    def settle(self, check: Check, item: str) -> list[Finding]:
        """The exact look at one item. Empty too if it moves all the time: then it is not stuck."""
        told = self.read(check, [item])[0]
        for _ in range(_TRIES):
            needs = _examine(check, item, told)
            if not needs:
                return []
            places = list(dict.fromkeys(place for need in needs for place in need.places))
            with self._client.pipeline(transaction=True) as pipe:
                sizes = _ask(pipe, check, [item])
                for place in places:
                    _ask_place(pipe, place)
                replies = pipe.execute()
            now, answers = replies[: sizes[0]], replies[sizes[0] :]
            if now == told:
                there = _there(places, answers)
                return [need.finding for need in needs if there.isdisjoint(need.places)]
            told = now
        return []


def batches(items: Iterable[str], size: int = _BATCH) -> Iterator[list[str]]:
    """The items in lists of at most `size`."""
    batch: list[str] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def members(client: Any, key: str) -> Iterator[str]:
    """The members of a zset, without reading it whole."""
    for member, _ in client.zscan_iter(key, count=1000):
        yield member


def _ask(pipe: Any, check: Check, items: Sequence[str]) -> list[int]:
    """Add the commands about the items; how many of them each has."""
    sizes = []
    for item in items:
        before = len(pipe)
        with suppress(ValueError):  # somebody else wrote it: `_examine` will say so
            check.ask(pipe, item)
        sizes.append(len(pipe) - before)
    return sizes


def _examine(check: Check, item: str, told: list[Any]) -> list[Need]:
    try:
        return list(check.examine(item, told))
    except UNREADABLE:
        return [wrong("entry", item, "cannot be understood: the orchestrator has not written this")]


def _divide(pipe: Any, sizes: Sequence[int]) -> list[list[Any]]:
    answers = iter(pipe.execute() if sum(sizes) else [])
    return [[next(answers) for _ in range(size)] for size in sizes]


def _ask_place(pipe: Any, place: Place) -> None:
    match place.how:
        case "zset":
            pipe.zscore(place.key, place.member)
        case "set":
            pipe.sismember(place.key, place.member)
        case "field":
            pipe.hexists(place.key, place.member)
        case "kept":
            pipe.expiretime(place.key)
        case "alive":
            pipe.hget(place.key, "state")


def _there(places: Sequence[Place], answers: Sequence[Any]) -> set[Place]:
    return {place for place, answer in zip(places, answers, strict=True) if _holds(place, answer)}


def _holds(place: Place, answer: Any) -> bool:
    match place.how:
        case "zset":
            return answer is not None
        case "kept":
            return int(answer) == -1
        case "alive":
            return answer in RUN_LIVE
        case _:
            return bool(answer)
