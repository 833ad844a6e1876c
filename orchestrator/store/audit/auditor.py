"""`Auditor`: goes through everything that is stored and everything that was accepted, and tells what does not agree."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import redis

from orchestrator.records import rfc3339
from orchestrator.store.audit import messages, run_entries, runs
from orchestrator.store.audit.accounts import Accounts, order, when
from orchestrator.store.audit.ledger import Ledger
from orchestrator.store.audit.looking import RUN_LIVE, UNREADABLE, Check, Finding, Looker, Part, batches, members
from orchestrator.store.audit.report import Progress, Report
from orchestrator.store.connection import server_now_ms
from orchestrator.store.founding import Founding
from orchestrator.store.journal import BEGINNING, Journal
from orchestrator.store.keys import Keys
from orchestrator.store.scripts import Scripts

_SECOND_LOOK_S = 0.5  # what is wrong for so long is wrong: no script leaves anything half done
_ENTRIES = 5000  # records of steps that are held at the same time, roughly
_SCAN = 1000


class Auditor:
    """One audit of one database; changes nothing.

    Args:
        retention_ms: how long runs are kept when they are over, at least.
        message_retention_ms: the same of messages.
    """

    def __init__(
        self, client: redis.Redis, keys: Keys, *, retention_ms: int, message_retention_ms: int,
        progress: Progress = lambda what, done: None,
    ) -> None:  # fmt: skip
        self._client: Any = client  # see RunReader
        self._keys = keys
        self._retention_ms = {"run": retention_ms, "message": message_retention_ms}
        self._progress = progress
        self._looker = Looker(client)
        self._suspects: list[tuple[Check, str]] = []
        self._parts: dict[Finding, Part] = {}
        self._live_runs: set[str] = set()
        self._live_messages: set[str] = set()
        self._held: list[str] = []
        self._found: dict[str, list[str]] = {}

    def audit(self, ledgers: Sequence[Ledger] = ()) -> Report:
        """Look at everything.

        Args:
            ledgers: what others know to have been accepted; the server's own journal is always asked.
        """
        began = time.monotonic()
        report = self._report = Report(server_now_ms(self._client))
        self._found = self._scan()
        self._look_at_runs()
        self._look_at_messages()
        self._look_at_entries()
        report.findings += [*self._settle(), *self._counters(), *self._database(), *self._accounts().compare(ledgers)]
        report.findings.sort()
        report.took_ms = round((time.monotonic() - began) * 1000)
        return report

    # --- what is stored --------------------------------------------------------------------------------------

    def _scan(self) -> dict[str, list[str]]:
        """The names behind each kind of key: {run: [ID, ...], msg: [...], plan, inbox, slots, limit}."""
        found: dict[str, dict[str, None]] = {kind: {} for kind in ("run", "msg", "plan", "inbox", "slots", "limit")}
        pattern = _escaped(self._keys.prefix) + "*"
        for key in self._client.scan_iter(pattern, count=_SCAN):
            kind, _, name = key.removeprefix(self._keys.prefix).partition(":")
            if kind == "run":
                name = name.partition(":")[0]  # whichever of its keys is left
            if kind in found and name:
                found[kind][name] = None
            self._progress("keys", 1)
        return {kind: list(names) for kind, names in found.items()}

    def _look_at_runs(self) -> None:
        check, report = runs.Runs(self._client, self._keys), self._report
        for batch in self._by_size(self._found["run"]):
            replies = self._first_look(check, batch, "runs")
            for run_id, told in zip(batch, replies, strict=True):
                run = check.seen(run_id, told)
                if run.state is None:
                    continue
                try:
                    parts = [runs.part_of(rec) for rec in run.records().values()]
                except UNREADABLE:
                    report.runs.unaccounted += 1
                    continue
                report.runs.add(runs.part_of_run(run, set(parts)))
                for part, n in Counter(parts).items():
                    report.steps.add(part, n)
                if run.state in RUN_LIVE:
                    self._live_runs.add(run_id)

    def _by_size(self, run_ids: Sequence[str]) -> Iterator[list[str]]:
        """Batches that have not too many steps together."""
        batch: list[str] = []
        total = 0
        for some in batches(run_ids):
            with self._client.pipeline(transaction=False) as pipe:
                for run_id in some:
                    pipe.hlen(self._keys.steps(run_id))
                sizes = pipe.execute()
            for run_id, size in zip(some, sizes, strict=True):
                if batch and (total + size > _ENTRIES or len(batch) == len(some)):
                    yield batch
                    batch, total = [], 0
                batch.append(run_id)
                total += size
        if batch:
            yield batch

    def _look_at_messages(self) -> None:
        check = messages.Messages(self._keys, self._report.at_ms)
        for batch in batches(self._found["msg"]):
            for message_id, told in zip(batch, self._first_look(check, batch, "messages"), strict=True):
                rec = check.fields(told)
                if rec["state"] is None:
                    continue
                self._report.messages.add(check.part_of(rec))
                if rec["state"] in messages.MESSAGE_LIVE:
                    self._live_messages.add(message_id)
                    if rec["task"] or (rec["state"] == "delivered" and not rec["lease_until"]):
                        self._held.append(message_id)

    def _look_at_entries(self) -> None:
        """The reverse: each entry of a timer, a queue, an inbox or a place stands for something."""
        keys, client, now_ms = self._keys, self._client, self._report.at_ms
        boxes = self._found["inbox"]
        checks: list[tuple[Check, Iterable[str]]] = [
            (run_entries.Timers(keys, now_ms), members(client, keys.timers)),
            (run_entries.ReadyEntries(keys), members(client, keys.ready)),
            (run_entries.Slots(keys), (f"{key} {r}" for key in self._named("slots") for r in members(client, key))),
            (run_entries.Limits(keys), self._limit_members()),
            (run_entries.Schedules(keys), client.hkeys(keys.schedules)),
            (messages.MessageTimers(keys), members(client, keys.message_timers)),
            (messages.InboxEntries(keys), (f"{b} {m}" for b in boxes for m in members(client, keys.inbox(b)))),
            (messages.Boxes(keys), boxes),
            (messages.DeadLetters(keys), members(client, keys.dead)),
            (messages.Held(keys), (f"{ring} {m}" for ring, m in client.hscan_iter(keys.held, count=_SCAN))),
        ]
        for check, items in checks:
            for batch in batches(items):
                self._first_look(check, batch, "entries")

    def _named(self, kind: str) -> list[str]:
        return [f"{self._keys.prefix}{kind}:{name}" for name in self._found[kind]]

    def _limit_members(self) -> Iterator[str]:
        """Places under `max`, and turns for one; the starts that `rate` counts expire by themselves."""
        for key in self._named("limit"):
            if self._client.type(key) == "set":
                yield from (f"{key} {member}" for member in self._client.sscan_iter(key, count=_SCAN))
            elif self._client.expiretime(key) == -1:
                yield from (f"{key} {member}" for member in members(self._client, key))

    # --- what looks wrong ------------------------------------------------------------------------------------

    def _first_look(self, check: Check, items: list[str], what: str) -> list[list[Any]]:
        replies = self._looker.read(check, items)
        suspects = self._looker.find(check, items, replies)
        self._parts |= {finding: finding.part for _, finding in suspects}
        self._suspects += [(check, item) for item in dict.fromkeys(item for item, _ in suspects)]
        self._progress(what, len(items))
        return replies

    def _settle(self) -> list[Finding]:
        """What is still wrong when it is looked at exactly, and still so a moment later."""
        findings: set[Finding] = set()
        wrong = []
        for check, item in self._suspects:
            if found := self._looker.settle(check, item):
                wrong.append((check, item, set(found)))
            self._progress("suspects", 1)
        if wrong:
            time.sleep(_SECOND_LOOK_S)
        for check, item, before in wrong:
            findings |= before.intersection(self._looker.settle(check, item))
        self._discount(findings)
        return list(findings)

    def _discount(self, findings: set[Finding]) -> None:
        """What nothing moves on is neither queued, nor leased, nor does it wait."""
        tallies = {"run": self._report.runs, "step": self._report.steps, "message": self._report.messages}
        stuck: dict[tuple[str, str], Part] = {}
        for finding in sorted(findings):
            if part := self._parts.get(finding, ""):
                stuck.setdefault((finding.about, finding.id), part)
        for (about, _), part in stuck.items():
            tallies[about].add(part, -1)
            tallies[about].unaccounted += 1

    # --- the whole -------------------------------------------------------------------------------------------

    def _counters(self) -> Iterator[Finding]:
        keys = self._keys
        known = {"runs": sorted(self._live_runs), "plans": self._found["plan"], "held": self._held}
        wrong = Scripts(self._client).call(
            "count_alive",
            [keys.runs, keys.timers, keys.message_timers, keys.queues, keys.schedules, keys.handoffs],
            [keys.prefix, json.dumps(known | {"since": self._report.at_ms - 1000})],
        )
        for name, says, counted in zip(wrong[::3], wrong[1::3], wrong[2::3], strict=True):
            yield Finding("counter", name, f"is {says}, and {counted} were counted")

    def _database(self) -> Iterator[Finding]:
        """Whether the data are those of before, and only ours."""
        mark = Founding(self._client, self._keys).read()
        self._report.founded_ms = mark.since_ms if mark else None
        if mark and mark.lost_ms and mark.lost_ms > self._report.at_ms - self._retention_ms["run"]:
            seen = rfc3339(mark.lost_ms)
            problem = f"a worker saw at {seen} that the data it had worked with (mark {mark.lost_id}) were gone"
            yield Finding("database", mark.id, f"{problem}: FLUSHALL, a server without its file, or another database")
        newest = Journal(self._client, self._keys).newest()
        for sink, position in self._client.hgetall(self._keys.sinks).items():
            if order(position) > order(newest):
                ends = f"ends at {when(newest)}" if newest != BEGINNING else "is empty"
                yield Finding("journal", sink, f"it was carried there up to {when(position)}, and {ends} here")

    def _accounts(self) -> Accounts:
        live = self._live_runs | self._live_messages
        return Accounts(self._client, self._keys, self._report, self._retention_ms, live, self._progress)


def _escaped(text: str) -> str:
    """For a pattern of SCAN."""
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in text)
