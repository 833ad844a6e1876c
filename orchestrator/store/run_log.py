"""`RunLog`: the lines that the handlers of a run have logged, a stream per run, bounded, as long-lived as the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from orchestrator.records import LogLine
from orchestrator.store.keys import Keys
from orchestrator.store.scripts import NoRun, Scripts

BEGINNING = "0"  # the position in front of the oldest line
_PAGE = 1000
_PACKET_LINES, _PACKET_BYTES = 200, 1 << 17  # of one call: bounds how long the server is held up


class RunLog:
    """The lines of the runs of one server."""

    def __init__(self, client: redis.Redis, keys: Keys, scripts: Scripts | None = None) -> None:
        self.client: Any = client  # see RunReader
        self.keys = keys
        self._scripts = scripts or Scripts(client)

    def append(self, run_id: str, lines: Sequence[LogLine], *, most: int) -> bool:
        """Keep lines; beyond `most` of the run, the oldest are dropped.

        Returns:
            False: the server did not answer, or has no room. Part of them may be kept all the same.
        Script: add_log.lua, O(lines), one round trip for 200 lines or 128 KiB.
        """
        try:
            return all(self._add(run_id, packet, most) for packet in _packets(lines))
        except NoRun:
            return True  # nobody will ever look
        except redis.RedisError:
            return False

    def _add(self, run_id: str, lines: Sequence[LogLine], most: int) -> bool:
        parts = [part for line in lines for part in _parts(line)]
        return bool(self._scripts.call("add_log", [self.keys.run(run_id), ""], [run_id, most, *parts]))

    def read(self, run_id: str, after: str = BEGINNING, count: int = _PAGE) -> list[LogLine]:
        """At most `count` lines behind a position, in the order they reached the server. One round trip."""
        return [_line(*entry) for entry in self.client.xrange(self.keys.log(run_id), min=f"({after}", count=count)]

    def read_all(self, run_id: str, after: str = BEGINNING) -> Iterator[LogLine]:
        """Every line that is kept behind a position, a page at a time."""
        while page := self.read(run_id, after):
            yield from page
            after = page[-1].id

    def wait(self, blocking: Any, run_id: str, after: str, block_ms: int) -> list[LogLine]:
        """The lines behind a position; waits at most `block_ms` for the first. Empty: none came.

        Args:
            blocking: a client whose socket time-out is longer than `block_ms`.
        """
        key = self.keys.log(run_id)
        reply = blocking.xread({key: after}, block=block_ms, count=_PAGE)
        if not reply:
            return []
        entries = dict(reply)[key] if isinstance(reply, list) else reply[key][0]  # RESP 2: pairs, RESP 3: a map
        return [_line(*entry) for entry in entries]

    def dropped(self, run_id: str) -> int:
        """How many of the run's oldest lines are not kept any more."""
        try:
            told = self.client.xinfo_stream(self.keys.log(run_id))
        except redis.ResponseError:  # no line yet, or the run is gone
            return 0
        return int(told["entries-added"]) - int(told["length"])


def _packets(lines: Sequence[LogLine]) -> Iterator[list[LogLine]]:
    packet: list[LogLine] = []
    size = 0
    for line in lines:
        if packet and (len(packet) == _PACKET_LINES or size + len(line.text) > _PACKET_BYTES):
            yield packet
            packet, size = [], 0
        packet.append(line)
        size += len(line.text)
    if packet:
        yield packet


def _parts(line: LogLine) -> tuple[Any, ...]:
    """The order is that of add_log.lua."""
    return line.step, line.attempt, line.agent, line.level, line.logger, line.at, line.text


def _line(entry_id: str, fields: dict[str, str]) -> LogLine:
    return LogLine(
        id=entry_id, step=fields["s"], attempt=int(fields["a"]), agent=fields["g"], level=fields["l"],
        logger=fields["n"], at=int(fields["t"]), text=fields["m"],
    )  # fmt: skip
