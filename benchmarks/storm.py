"""Messages under fire: 4 agents, 2 workers each, and every second one worker dies by SIGKILL. Is any message lost?

Run: python -m benchmarks.storm [--messages 20000] [--seed N] [--kill-every 1.0]. Progress goes to standard error, the
counts to standard output and benchmarks/results/storm.json; the exit code is 1 if anything is off. What must hold in
the end: every message is acknowledged, expired or dead; the handler of each acknowledged one ran at least once; only
those with a time to live expired; the dead letters are exactly those whose handler always fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.sides import PACKAGES, ROOT
from benchmarks.storm_agents import NOTES, text_of
from benchmarks.storm_workers import FILE, NAMES, WORKERS_EACH, Workers
from benchmarks.transport_kills import until
from orchestrator import Client, DeliveryOptions, MessagePriority, Settings
from orchestrator.store import embedded

SENDERS = 4  # threads
LEASE_S = 2.0
MAX_LOSSES = 1000  # no message may die of the kills
MARKED, MORTAL = 0.01, 0.02  # shares: the handler always fails; a time to live
TTL_S = (0.5, 20.0)
SIZES = ((0.90, 10, 1_000), (0.08, 1_000, 16_384), (0.02, 16_384, 262_144))  # share, bytes from, bytes to; log-uniform
HEAD_BYTES = 9  # of a text, before what is checked
RETRIES = {"max_retries": 2, "retry_delay_seconds": 0.2}
AT_ONCE = 1000  # messages asked for in one round trip


@dataclass(frozen=True, slots=True)
class Letter:
    """What is sent, before it is."""

    to: str
    text: str
    priority: str
    marked: bool
    ttl_s: float | None


def letters(count: int, chance: random.Random) -> Iterable[Letter]:
    """The messages of a seed."""
    noise = "".join(chance.choices("0123456789abcdef ", k=2 * SIZES[-1][2]))
    for _ in range(count):
        _, low, high = chance.choices(SIZES, [share for share, *_ in SIZES])[0]
        size = round(low * (high / low) ** chance.random())
        at = chance.randrange(len(noise) - size)
        marked = chance.random() < MARKED
        ttl_s = chance.uniform(*TTL_S) if not marked and chance.random() < MORTAL else None
        text = text_of(noise[at : at + max(1, size - HEAD_BYTES)], fails=marked)
        yield Letter(chance.choice(NAMES), text, chance.choice(list(MessagePriority)), marked, ttl_s)


class Storm:
    """One server, its workers, and the messages sent."""

    def __init__(self, folder: Path) -> None:
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.home = folder / "state"
        self.server = embedded.acquire(self.home)
        options = {"lease_s": LEASE_S, "max_losses": MAX_LOSSES, "deadline_s": 30.0}
        self.client = Client(Settings(url=self.server.url, agents=(FILE,), **options))
        environment = {**os.environ, "ORCHESTRATOR_URL": self.server.url, NOTES: str(self.notes)}
        environment |= {f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in options.items()}
        self.workers = Workers(folder, environment)
        self.sent: dict[str, Letter] = {}

    def close(self) -> None:
        self.workers.close()
        self.client.close()
        self.server.release()
        # Its guard tidies the folder, which nobody may remove meanwhile.
        until(lambda: embedded.status(self.home).guard_pid is None, "the end of the server")

    def wait_for_workers(self) -> None:
        def all_there() -> bool:
            return sum(len(agent["workers"]) for agent in self.client.agents()) == len(NAMES) * WORKERS_EACH

        until(all_there, "all workers", timeout_s=120)

    def send(self, letter: Letter) -> None:
        options = DeliveryOptions(ttl_seconds=letter.ttl_s, **RETRIES)  # type: ignore[arg-type]
        receipt = self.client.office.send(
            letter.to, letter.text, sender="storm", priority=letter.priority, delivery_options=options
        )
        self.sent[receipt.message_id] = letter

    def states(self, message_ids: Sequence[str]) -> dict[str, str | None]:
        """message id -> state; None: it is not there."""
        store, found = self.client.store, {}
        for at in range(0, len(message_ids), AT_ONCE):
            some = message_ids[at : at + AT_ONCE]
            with store.client.pipeline(transaction=False) as pipe:
                for message_id in some:
                    pipe.hget(store.keys.message(message_id), "state")
                found |= dict(zip(some, pipe.execute(), strict=True))
        return found

    def wait_for_end(self, done: threading.Event, began_s: float, timeout_s: float) -> None:
        """Until everything that was sent is over, or the time is; tells how far it is."""
        over: set[str] = set()
        told_s = 0.0
        while time.monotonic() - began_s < timeout_s:
            all_sent = done.is_set()
            waiting = [message_id for message_id in list(self.sent) if message_id not in over]
            now = self.states(waiting)
            over |= {message_id for message_id, state in now.items() if state not in ("pending", "delivered")}
            if all_sent and len(over) == len(self.sent):
                return
            if time.monotonic() - told_s > 5:
                told_s = time.monotonic()
                say(f"{told_s - began_s:4.0f} s  sent {len(self.sent)}  over {len(over)}  kills {self.workers.kills}")
            time.sleep(0.5)

    def attempts(self, message_ids: Iterable[str]) -> int:
        """How many claims these messages have had."""
        store, wanted, count = self.client.store, list(message_ids), 0
        for at in range(0, len(wanted), AT_ONCE):
            with store.client.pipeline(transaction=False) as pipe:
                for message_id in wanted[at : at + AT_ONCE]:
                    pipe.hget(store.keys.message(message_id), "attempt")
                count += sum(int(claims or 0) for claims in pipe.execute())
        return count

    def handled(self) -> Counter[str]:
        """message id -> how often its handler started."""
        return Counter(line for file in self.notes.iterdir() for line in file.read_text().splitlines())

    def leftovers(self) -> dict[str, int]:
        """What the engine still remembers of messages when all of them are over."""
        store, keys = self.client.store.client, self.client.store.keys
        sizes = {"timers": store.zcard(keys.message_timers), "rings": store.zcard(keys.rings)}
        inboxes = sum(store.zcard(keys.inbox(name)) for name in NAMES)
        return {**sizes, "held": store.hlen(keys.held), "inboxes": inboxes}

    def settle(self, timeout_s: float = 30) -> dict[str, int]:
        """What is left after the workers had time to tidy up."""
        until_s = time.monotonic() + timeout_s
        while any((left := self.leftovers()).values()) and time.monotonic() < until_s:
            time.sleep(0.5)
        return left


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run(storm: Storm, options: argparse.Namespace) -> dict[str, Any]:
    """Send everything while workers die; the figures, and what is off."""
    chance = random.Random(options.seed)
    kills = random.Random(options.seed + 1)
    storm.wait_for_workers()
    began_s, done = time.monotonic(), threading.Event()
    killer = threading.Thread(target=storm.workers.kill_for_ever, args=(options.kill_every, kills), daemon=True)
    killer.start()

    def send_all() -> None:
        try:
            with ThreadPoolExecutor(SENDERS) as pool:
                for sent in [pool.submit(storm.send, letter) for letter in letters(options.messages, chance)]:
                    sent.result()
        finally:  # an error is printed; what is missing shows in the counts
            done.set()

    sender = threading.Thread(target=send_all, daemon=True)
    sender.start()
    storm.wait_for_end(done, began_s, options.timeout)
    took_s = time.monotonic() - began_s
    storm.workers.stop_killing()
    killer.join()
    return {"took_s": round(took_s, 1), "kills": storm.workers.kills, **judge(storm, options.messages)}


def judge(storm: Storm, wanted: int) -> dict[str, Any]:
    """The counts, and a sentence for each thing that is off."""
    states, handled, sent = storm.states(list(storm.sent)), storm.handled(), storm.sent
    groups: dict[str, set[str]] = {}
    for message_id, state in states.items():
        groups.setdefault(state or "gone", set()).add(message_id)
    marked = {message_id for message_id, letter in sent.items() if letter.marked}
    mortal = {message_id for message_id, letter in sent.items() if letter.ttl_s}
    acknowledged, expired, dead = (groups.get(name, set()) for name in ("acknowledged", "expired", "dead"))
    in_list = {record.message.message_id for record in storm.client.office.inbox.dead_letters(wanted)}
    left = storm.settle()
    checks = {
        "not sent": {f"{wanted - len(sent)} messages"} if len(sent) != wanted else set(),
        "not over": set(sent) - acknowledged - expired - dead,
        "acknowledged, but no handler ran": acknowledged - set(handled),
        "expired without a time to live": expired - mortal,
        "dead, but not marked": (dead | in_list) - marked,
        "marked, but not dead": marked - dead,
        "dead, but no dead letter": dead - in_list,
        "handled, but never sent": set(handled) - set(sent),
        "left behind": {f"{count} {name}" for name, count in left.items() if count},
    }
    off = {what: sorted(found)[:20] for what, found in checks.items() if found}
    counts = {name: len(found) for name, found in sorted(groups.items())}
    sizes = [len(letter.text) for letter in sent.values()]
    return {
        "sent": len(sent), **counts, "marked": len(marked), "with_ttl": len(mortal),
        "bytes": sum(sizes), "largest_bytes": max(sizes, default=0),
        # Nothing but a dead worker, or a lease that lapsed under load, brings an acknowledged message back.
        "claims_cut_short": storm.attempts(acknowledged) - len(acknowledged),
        "handlers_run_again": sum(handled[name] - 1 for name in acknowledged & set(handled)),
        "lost": len(checks["not over"]), "off": off,
    }  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--messages", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments.add_argument("--kill-every", type=float, default=1.0, metavar="SECONDS")
    arguments.add_argument("--timeout", type=float, default=900.0, metavar="SECONDS", help="then what is open is off")
    options = arguments.parse_args()
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    print(f"{versions}, {os.cpu_count()} cores; server: append-only file, everysec; lease {LEASE_S:g} s")
    told = f"seed {options.seed}; {options.messages} messages to {len(NAMES)} agents x {WORKERS_EACH} workers"
    print(f"{told}, a kill every {options.kill_every:g} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        storm = Storm(Path(folder))
        try:
            found = run(storm, options)
            if found["off"]:
                explain(storm, found["off"], Path(folder))
        finally:
            storm.close()
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    document = {"versions": versions, **vars(options), "lease_s": LEASE_S, **found}
    (results / "storm.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    sys.exit(1 if found["off"] else 0)


def explain(storm: Storm, off: dict[str, list[str]], folder: Path) -> None:
    """The records of what is off, and the end of the workers' log."""
    for message_id in [name for names in off.values() for name in names if name in storm.sent][:20]:
        fields = storm.client.store.client.hgetall(storm.client.store.keys.message(message_id))
        say(json.dumps({name: value[:200] for name, value in fields.items() if name != "body"}))
    say((folder / "workers.log").read_text(errors="replace")[-5000:])


if __name__ == "__main__":
    main()
