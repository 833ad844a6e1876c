"""`Accounts`: what was accepted, as ledgers tell, held against what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.ids import time_of
from orchestrator.records import rfc3339
from orchestrator.store.audit.ledger import OWN, Accepted, Ledger
from orchestrator.store.audit.looking import RUN_LIVE, Finding, batches, members
from orchestrator.store.audit.messages import MESSAGE_LIVE
from orchestrator.store.audit.report import Progress, Report
from orchestrator.store.founding import Founding, Mark
from orchestrator.store.journal import BEGINNING, Journal
from orchestrator.store.keys import Keys


class Accounts:
    """The ids of all ledgers.

    Args:
        report: gets the numbers.
        retention_ms: how long the record of a run, and of a message, is kept when it is over.
        live: what was found not to be over.
    """

    def __init__(
        self, client: Any, keys: Keys, report: Report, retention_ms: dict[str, int], live: set[str], progress: Progress
    ) -> None:
        self._client = client
        self._keys = keys
        self._report = report
        self._retention_ms = retention_ms
        self._live = live
        self._progress = progress

    def compare(self, ledgers: Sequence[Ledger]) -> Iterator[Finding]:
        """Every id that was accepted is known, or ended, or is so old that its record may have expired."""
        own = self._own_journal()
        mark = Founding(self._client, self._keys).read()
        settled: set[str] = set()
        for ledger in (own, *ledgers):
            yield from self._gap(ledger, own)
            for batch in batches(one for one in ledger.accepted if one not in settled):
                for item, state in self._states(batch):
                    settled.add(item)
                    told = ledger.accepted[item]
                    if state is None:
                        yield from self._missing(item, told, own.accepted.get(item), ledger.source, mark)
                self._progress("accepted ids", len(batch))
            yield from self._went_back(ledger)
        self._report.untold += sum(1 for gone in self._unlisted(settled) for _ in gone)

    def _own_journal(self) -> Ledger:
        ledger, journal, after = Ledger(OWN), Journal(self._client, self._keys), BEGINNING
        while entries := journal.read(after):
            ledger.add_all(entries)
            after = entries[-1].id
            self._progress("entries of the journal", len(entries))
        return ledger

    def _states(self, items: Sequence[str]) -> Iterator[tuple[str, str | None]]:
        """The state of each id, be it of a run or of a message; None: there is no such record."""
        with self._client.pipeline(transaction=False) as pipe:
            for item in items:
                pipe.hget(self._keys.run(item), "state")
                pipe.hget(self._keys.message(item), "state")
            states = iter(pipe.execute())
        for item in items:
            of_run, of_message = next(states), next(states)
            yield item, of_run or of_message

    def _missing(
        self, item: str, told: Accepted, journaled: Accepted | None, source: str, mark: Mark | None
    ) -> Iterator[Finding]:
        report = self._report
        kind = told.kind or (journaled.kind if journaled else "")
        tally = report.messages if kind == "message" else report.runs
        if (
            journaled and journaled.end
        ):  # it was there, and ended: it expired, was purged, or a workflow keeps it shorter
            report.expired += 1
            return
        if told.end:
            if told.end_ms < report.at_ms - self._retention_ms[told.kind]:
                report.expired += 1
            else:
                tally.unaccounted += 1
                yield Finding(
                    kind, item, f"LOST: it ended (so says {source}: {told.end}), and its record is gone too soon"
                )
            return
        made_ms = time_of(item)
        older = made_ms is not None and (mark is None or made_ms < mark.since_ms)  # than this database
        # Of what kind an id is, a list of ids does not tell. What the database should hold is held against it.
        choose = max if older else min
        kept_ms = self._retention_ms.get(kind) or choose(self._retention_ms.values())
        if made_ms is not None and made_ms < report.at_ms - kept_ms:
            report.untold += 1
            return
        problem = f"was accepted (so says {source}), and nothing of it is left"
        if older and mark:
            problem += f": this database began later, at {rfc3339(mark.since_ms)}"
        tally.unaccounted += 1
        yield Finding(kind or "run or message", item, f"LOST: {problem}")

    def _went_back(self, ledger: Ledger) -> Iterator[Finding]:
        ended = [item for item, told in ledger.accepted.items() if told.end and item in self._live]
        for item, state in self._states(ended):
            if state in RUN_LIVE | MESSAGE_LIVE:
                told = ledger.accepted[item]
                problem = f"is {state}, and {ledger.source} tells that it ended ({told.end}): the server lost that"
                yield Finding(told.kind, item, problem)

    @staticmethod
    def _gap(ledger: Ledger, own: Ledger) -> Iterator[Finding]:
        """Entries of the journal that were carried to a file and that the server, which still has older ones, lost."""
        if ledger is own or not own.entries:
            return
        oldest = min(map(order, own.entries))
        lost = sorted((entry for entry in ledger.entries - own.entries if order(entry) > oldest), key=order)
        if lost:
            problem = f"the server has lost {len(lost)} entries, from {when(lost[0])} to {when(lost[-1])}"
            yield Finding("journal", ledger.source, problem)

    def _unlisted(self, settled: set[str]) -> Iterator[list[str]]:
        """Runs of the list whose record is gone, and of which no journal tells."""
        for batch in batches(run for run in members(self._client, self._keys.runs) if run not in settled):
            yield [run for run, state in self._states(batch) if state is None]


def order(entry_id: str) -> tuple[int, int]:
    """What entries of a stream are sorted by."""
    at, _, n = entry_id.partition("-")
    return int(at), int(n or 0)


def when(entry_id: str) -> str:
    """The time in the id of an entry."""
    return str(rfc3339(order(entry_id)[0]))
