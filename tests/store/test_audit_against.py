"""The audit against what others know: accepted ids, entries that were carried away, the mark of the database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator.errors import WorkflowInvalid
from orchestrator.ids import new_id, time_of
from orchestrator.records import Order, rfc3339
from orchestrator.store.audit import auditor
from orchestrator.store.audit.auditor import Auditor
from orchestrator.store.audit.ledger import read_file
from orchestrator.store.founding import Founding
from orchestrator.store.journal import Journal
from orchestrator.store.runs import RunStore
from orchestrator.workflow.segments import dispatch_table
from tests.conftest import KEYS
from tests.factories import plan, task
from tests.store.auditing import audit, told


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves while these tests look."""
    monkeypatch.setattr(auditor, "_SECOND_LOOK_S", 0)


def begin(store: RunStore) -> str:
    order = Order(new_id(), plan(task("a")), {}, dispatch_table, priority="low", retention_ms=60_000)
    return store.create_run(order)[0]


def carried(client: redis.Redis, path: Path) -> Path:
    """What `orchestrator sink file` writes of the journal."""
    entries = Journal(client, KEYS).read()
    path.write_text("".join(json.dumps(entry.to_json()) + "\n" for entry in entries))
    return path


def test_an_accepted_id_of_which_nothing_is_left_is_lost(client: redis.Redis, store: RunStore, tmp_path: Path) -> None:
    kept, lost = begin(store), begin(store)
    ids, file = tmp_path / "ids.txt", carried(client, tmp_path / "journal.jsonl")
    ids.write_text(f"{kept}\n\n{lost}")
    Founding(client, KEYS).watch()
    assert told(client, read_file(str(ids)), read_file(str(file))) == []
    client.flushall()
    report = audit(client, read_file(str(file)))
    assert {f"{one.about} {one.id}" for one in report.findings} == {f"run {kept}", f"run {lost}"}
    assert (report.runs.accepted, report.runs.unaccounted) == (2, 2)
    kept = begin(store)
    ids.write_text(f"{kept}\n{lost}\n")
    assert told(client, read_file(str(ids))) == [
        f"run or message {lost}: LOST: was accepted (so says {ids}), and nothing of it is left"
    ]
    Founding(client, KEYS).watch()
    [found] = told(client, read_file(str(ids)))
    assert f"this database began later, at {rfc3339(time_of(kept))[:16]}" in found


def test_what_ended_and_expired_is_no_loss(client: redis.Redis, store: RunStore, tmp_path: Path) -> None:
    run_id = begin(store)
    store.cancel_run(run_id)
    file = carried(client, tmp_path / "journal.jsonl")
    client.delete(KEYS.run(run_id), KEYS.steps(run_id), KEYS.events(run_id))
    client.delete(*client.scan_iter("t:plan:*"))
    report = audit(client)
    assert (report.findings, report.expired) == ([], 1), "the server's own journal tells of its end"
    client.flushall()
    [found] = told(client, read_file(str(file)))
    problem = f"LOST: it ended (so says {file}: run.cancelled), and its record is gone too soon"
    assert found == f"run {run_id}: {problem}", "the server does not know of its end"
    later = Auditor(client, KEYS, retention_ms=0, message_retention_ms=0).audit([read_file(str(file))])
    assert (later.findings, later.expired) == ([], 1)


def test_what_is_older_than_the_retention_may_have_expired(client: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("01000000000000000a\n")
    report = audit(client, read_file(str(tmp_path / "ids")))
    assert (report.findings, report.untold) == ([], 1)


def test_a_server_that_lost_its_newest_writes_is_told_with_the_gap(
    client: redis.Redis, store: RunStore, tmp_path: Path
) -> None:
    """As a power cut does it with `everysec`: the file has the end of a run that the server does not know of."""
    run_id = begin(store)
    file = tmp_path / "journal.jsonl"
    newest = Journal(client, KEYS).newest()
    at = int(newest.partition("-")[0]) + 1
    later = [{"id": f"{at}-{n}", "at": rfc3339(at), "name": name, "run": run_id} for n, name in enumerate(
        ["step.succeeded", "run.succeeded"]
    )]  # fmt: skip
    carried(client, file)
    with file.open("a") as lines:
        lines.writelines(json.dumps(entry) + "\n" for entry in later)
        lines.write('{"id": "cut o')
    when = rfc3339(at)
    assert told(client, read_file(str(file))) == [
        f"journal {file}: the server has lost 2 entries, from {when} to {when}",
        f"run {run_id}: is pending, and {file} tells that it ended (run.succeeded): the server lost that",
    ]


def test_a_journal_that_was_deleted_is_told(client: redis.Redis, store: RunStore) -> None:
    begin(store)
    Journal(client, KEYS).save_position("file x", Journal(client, KEYS).newest())
    assert told(client) == []
    client.delete(KEYS.journal)
    [found] = told(client)
    assert found.startswith("journal file x: it was carried there up to ")
    assert found.endswith("and is empty here")


def test_a_file_that_is_something_else_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    for text in ("01m80s0qmekfcw04mh\nsome words\n", '01m80s0qmekfcw04mh\n{"id": 1}\n'):
        file.write_text(text)
        with pytest.raises(WorkflowInvalid, match=r"notes.txt:2: is neither"):
            read_file(str(file))
    with pytest.raises(WorkflowInvalid, match="No such file"):
        read_file(str(tmp_path / "missing"))


# --- the mark of the database ---------------------------------------------------------------------------------------


def test_the_mark_is_set_once_and_is_as_old_as_what_is_there(client: redis.Redis, store: RunStore) -> None:
    run_id = begin(store)
    first, second = Founding(client, KEYS), Founding(client, KEYS)
    assert (first.read(), first.watch(), second.watch(), first.watch()) == (None, None, None, None)
    mark = second.read()
    assert mark is not None
    assert mark.since_ms <= int(client.zscore(KEYS.runs, run_id))
    assert mark.lost_id is None


def test_data_deleted_under_a_worker_are_noticed_by_it_and_told_by_the_audit(client: redis.Redis) -> None:
    worker, other = Founding(client, KEYS), Founding(client, KEYS)
    assert worker.watch() is other.watch() is None
    lost = worker.read()
    client.flushall()
    assert "THE DATA ARE NOT THOSE OF BEFORE: its mark is gone" in str(worker.watch())
    assert "it has another mark" in str(other.watch()), "each worker says so once"
    assert (worker.watch(), other.watch()) == (None, None)
    mark = worker.read()
    assert lost is not None
    assert mark is not None
    assert (mark.lost_id, mark.id == lost.id) == (lost.id, False)
    [found] = told(client)
    assert f"the data it had worked with (mark {lost.id}) were gone" in found
    later = Auditor(client, KEYS, retention_ms=0, message_retention_ms=0).audit()
    assert later.findings == [], "what was there then would have expired by now"


def test_a_server_that_moves_is_looked_at_again(client: redis.Redis, store: RunStore, monkeypatch: Any) -> None:
    """What looks wrong because it moved between two reads is right when it is looked at in one."""
    run_id = begin(store)
    find = auditor.Looker.find

    def moved(self: auditor.Looker, check: Any, items: Any, replies: Any) -> Any:
        if run_id in items:
            store.claim_step(run_id, "a", worker="w", lease_ms=60_000)  # what was read is not so any more
        return find(self, check, items, replies)

    monkeypatch.setattr(auditor.Looker, "find", moved)
    assert told(client) == []
