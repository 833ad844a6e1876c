"""F31: a program dies between the commit to its own database and the send. It is the one of docs/messages.md."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Client, Settings
from tests.faults.fleet import ROOT, is_killed
from tests.faults.oracle import Pen
from tests.faults.trial import Target, Trial

ORDERS = 200
EXAMPLE = re.compile(r"^```python file=outbox.py\n(.*?)^```$", re.DOTALL | re.MULTILINE)
AGENTS = """
from orchestrator import Agent
from tests.faults.agents import hear

shipping = Agent("shipping")
shipping.on_message(hear)
"""


@pytest.mark.fault("F31", "the sender dies between its local commit and the send, or before it notes the send")
@pytest.mark.timeout(300)
def test_an_outbox_loses_nothing_when_its_program_dies(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    total = trial.scale(ORDERS)
    example = EXAMPLE.search((ROOT / "docs" / "messages.md").read_text("utf-8"))
    assert example
    (trial.folder / "outbox.py").write_text(example[1])
    agents = trial.folder / "shipping.py"
    agents.write_text(AGENTS)
    fleet = trial.fleet(agents=agents)
    fleet.start("shipping")
    subprocess.run(
        [sys.executable, "-m", __name__, str(trial.oracle), str(total)], cwd=trial.folder, stdin=subprocess.DEVNULL,
        env=fleet.environment, check=True, timeout=200,
    )  # fmt: skip
    before = stored(fleet.client)
    monkeypatch.syspath_prepend(trial.folder)
    outbox = import_module("outbox")
    database = outbox.open_database(trial.folder / "orders.db")
    outbox.send_what_waits(database, fleet.client)
    sent = stored(fleet.client)
    # Asked for again with their keys, they have their ids; what was lost would be sent only now, and is counted.
    with trial.messages(fleet, total, to=("shipping",), name="order"):
        pass
    verdict = trial.judge(fleet)
    trial.report(
        verdict,
        [
            Target("lost", total - sent, 0),
            Target("doubled", abs(stored(fleet.client) - total), 0),
            Target("orders that are not in the database", total - count(database, "orders"), 0),
            Target("letters left in the outbox", count(database, "outbox"), 0),
            Target("not yet sent when the last one died", total - before, 1, at_least=True),
        ],
        load=f"{total} orders, each of a process that dies after its commit, every second one in the middle of sending",
    )
    database.close()
    del sys.modules["outbox"]


def stored(client: Client) -> int:
    store = client.store
    return sum(1 for _ in store.client.scan_iter(f"{store.keys.message_prefix}*", 1000, "HASH"))


def count(database: Any, table: str) -> int:
    return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


# --- the program that dies -------------------------------------------------------------------------------------------


class DiesOnceSent:
    """A client whose process is killed when a message is sent, before that can be noted."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def send(self, *args: Any, **options: Any) -> None:
        self._client.send(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)


def _main(oracle: Path, total: int) -> None:
    outbox, client, pen = import_module("outbox"), Client(Settings.load()), Pen(oracle, "dying-sender")

    def place_and_die(number: int) -> None:
        database = outbox.open_database("orders.db")
        outbox.place_order(database, f"order-{number}", "tea")
        if number % 2:
            outbox.send_what_waits(database, DiesOnceSent(client))
        os.kill(os.getpid(), signal.SIGKILL)

    for number in range(total):
        pen.write("try", f"order-{number}", kind="message")
        assert is_killed(lambda: place_and_die(number))  # noqa: B023


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
