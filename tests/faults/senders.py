"""Senders of messages and submitters of runs, at a rate; each item has an idempotency key, and its lines in the oracle.

An answer that did not come (`OutcomeUnknown`) is noted as `indeterminate`, and asked for again with the same key until
it is known; a refusal (`StoreUnavailable`, `QueueFull`) as `refused`, which is that item's end unless it `insists`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator import Client, Settings, errors
from orchestrator.errors import OrchestratorError, StoreUnavailable
from tests.faults.agents import CHAIN
from tests.faults.oracle import Pen

Json = Any
NOTHING: Mapping[str, Json] = MappingProxyType({})
AGAIN_S = 0.2  # between two questions for the same item
#: Until the engine tells "nothing happened" from "I do not know", every failure is of the second kind.
OutcomeUnknown: type[OrchestratorError] = getattr(errors, "OutcomeUnknown", StoreUnavailable)
REFUSALS = (StoreUnavailable, getattr(errors, "QueueFull", StoreUnavailable))


class Sender:
    """Sends `total` items at `rate` a second from `threads` threads. A context manager: leaving it waits for the end.

    Args:
        send: does it: (number, key) -> id.
        kind: `message` or `run`.
        name: what the keys begin with; two senders of a test need two names.
        rate: items a second; None: as fast as possible. One that is late sends at once.
        insists: also what was refused is asked for again.
        gives_up_s: how long one item is asked for again.
    """

    def __init__(
        self, oracle: Path, send: Callable[[int, str], str], *, kind: str, name: str, total: int,
        rate: float | None = None, threads: int = 4, insists: bool = False, gives_up_s: float = 120.0,
    ) -> None:  # fmt: skip
        self.total = total
        self._oracle, self._send, self._kind, self._name = oracle, send, kind, name
        self._rate, self._insists, self._gives_up_s = rate, insists, gives_up_s
        self._numbers = count()
        self._over = threading.Event()
        self._began_s = 0.0
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Sender:
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.stop()
        self.join()

    def start(self) -> None:
        self._began_s = time.monotonic()
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float = 1800) -> None:
        """Wait until everything is sent. Raises what a thread died of: an error that is none of the known refusals."""
        for thread in self._threads:
            thread.join(timeout_s)
            assert not thread.is_alive(), f"the sender {self._name} hangs"
        if self._errors:
            raise self._errors[0]

    def stop(self) -> None:
        """Send nothing new."""
        self._over.set()

    @property
    def done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        pen = Pen(self._oracle, f"sender-{self._name}")
        try:
            while (number := next(self._numbers)) < self.total and not self._wait_for_turn(number):
                self._deliver(pen, number)
        except BaseException as error:
            self._errors.append(error)
            self.stop()
        finally:
            pen.close()

    def _wait_for_turn(self, number: int) -> bool:
        """Whether it is told to stop meanwhile."""
        due_s = self._began_s + number / self._rate if self._rate else 0.0
        return self._over.wait(max(0.0, due_s - time.monotonic()))

    def _deliver(self, pen: Pen, number: int) -> None:
        key = f"{self._name}-{number}"
        until_s = time.monotonic() + self._gives_up_s
        while True:
            pen.write("try", key, kind=self._kind)
            try:
                pen.write("accepted", key, id=self._send(number, key))
                return
            except OutcomeUnknown:
                pen.write("indeterminate", key)
            except REFUSALS as error:
                pen.write("refused", key, error=type(error).__name__)
                if not self._insists:
                    return
            if time.monotonic() > until_s:
                return
            time.sleep(AGAIN_S)


def messages(
    client: Client, oracle: Path, total: int, *, to: tuple[str, ...] = ("alpha",), name: str = "m",
    body: Mapping[str, Json] | Callable[[int], Mapping[str, Json]] = NOTHING, options: Mapping[str, Any] | None = None,
    **pace: Any,
) -> Sender:  # fmt: skip
    """Send messages to these agents in turn.

    Args:
        body: what the handler is told besides the key, see `agents.py`; a function of the number, or the same for all.
        options: of `Client.send`: priority, delivery_options, ...
        pace: of `Sender`.
    """

    def send(number: int, key: str) -> str:
        told = body(number) if callable(body) else body
        content = {**told, "key": key}
        receipt = client.send(to[number % len(to)], content, sender="tester", idempotency_key=key, **(options or {}))
        return receipt.message_id

    return Sender(oracle, send, kind="message", name=name, total=total, **pace)


def runs(
    client: Client, oracle: Path, total: int, *, workflow: str = CHAIN, name: str = "r",
    inputs: Mapping[str, Json] | Callable[[int], Mapping[str, Json]] = NOTHING, **pace: Any,
) -> Sender:  # fmt: skip
    """Submit runs of a workflow, given as text, whose input `key` is the item's key."""
    file = oracle.parent / f"workflow-{name}.yaml"
    file.write_text(workflow)
    plan = client.compile(file)

    def submit(number: int, key: str) -> str:
        told = inputs(number) if callable(inputs) else inputs
        return client.submit(plan, {**told, "key": key}, idempotency_key=key).id

    return Sender(oracle, submit, kind="run", name=name, total=total, **pace)


def sender_process(url: str, oracle: Path, total: int, **options: Json) -> list[str]:
    """The command of a process that sends messages: for a test that kills it, or puts it behind a broken link.

    Args:
        options: of `messages`, as JSON; with `kind="run"`, of `runs`.
    """
    document = {"url": url, "oracle": str(oracle), "total": total, **options}
    return [sys.executable, "-m", "tests.faults.senders", json.dumps(document)]


def start_sender_process(url: str, oracle: Path, total: int, **options: Json) -> subprocess.Popen[bytes]:
    """`sender_process`, started in a session of its own."""
    return subprocess.Popen(
        sender_process(url, oracle, total, **options), stdin=subprocess.DEVNULL, start_new_session=True
    )


def _main(text: str) -> None:
    told = json.loads(text)
    client = Client(Settings(url=told.pop("url")))
    if "to" in told:
        told["to"] = tuple(told["to"])
    make = runs if told.pop("kind", "message") == "run" else messages
    with make(client, Path(told.pop("oracle")), told.pop("total"), **told):
        pass


if __name__ == "__main__":
    _main(sys.argv[1])
