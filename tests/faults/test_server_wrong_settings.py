"""F10: servers that are set up wrongly, as the commands of a user meet them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Client, Settings
from tests.faults.fleet import AGENTS, ROOT
from tests.faults.oracle import FOLDER
from tests.faults.servers import Kind, Server, binary
from tests.faults.trial import Trial
from tests.waiting import wait_until

KINDS: tuple[Kind, ...] = ("valkey", "redis-server")
#: name -> (settings, the check that fails, what it says, whether workers refuse)
WRONG: dict[str, tuple[dict[str, str], str, str, bool]] = {
    "no file": ({"appendonly": "no"}, "durability", "no append-only file: a crash loses everything", True),
    "snapshots": ({"appendonly": "no", "save": "3600 1"}, "durability", "since the last snapshot", True),
    "eviction": ({"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}, "eviction", "drops runs", True),
    "open": ({"bind": "0.0.0.0"}, "access", "listens on 0.0.0.0 without a password", True),
    "everysec": ({"appendfsync": "everysec"}, "power cut", "synced every second", False),
    "rewrite": ({"no_appendfsync_on_rewrite": "yes"}, "power cut", "while the append-only file is rewritten", False),
}
ALL_WRONG = {"appendonly": "no", "maxmemory_policy": "allkeys-lru", "bind": "0.0.0.0"}


def command(folder: Path, url: str | None, *words: str, **more: str) -> dict[str, Any]:
    """The arguments of `Popen` for a command in a folder."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "CELERY_"))
    } | {
        "ORCHESTRATOR_HOME": str(folder / "state"),
        "ORCHESTRATOR_AGENTS": str(AGENTS),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        FOLDER: str(folder),
        **({"ORCHESTRATOR_URL": url} if url else {}),
        **more,
    }
    return {
        "args": [sys.executable, "-m", "orchestrator", *words], "cwd": folder, "env": environment,
        "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
    }  # fmt: skip


def call(folder: Path, url: str | None, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**command(folder, url, *words, **more), timeout=60, check=False)


def failing(told: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """check -> detail of what `doctor` finds wrong."""
    return {check["check"]: check["detail"] for check in json.loads(told.stdout)["checks"] if check["status"] == "fail"}


def starts(folder: Path, server: Server, **more: str) -> str:
    """Start a worker, wait until it serves, stop it; what it said."""
    worker = subprocess.Popen(**command(folder, server.url, "worker", "alpha", "--pool", "threads", **more))
    try:
        with Client(Settings(url=server.url)) as client:

            def serves() -> bool:
                assert worker.poll() is None, worker.communicate()
                return any(agent["presence"] == "online" for agent in client.agents())

            wait_until(serves, what="the worker", timeout_s=40)
    finally:
        worker.send_signal(signal.SIGTERM)
        _, said = worker.communicate(timeout=30)
    return said


@pytest.mark.fault("F10", "wrong server settings")
@pytest.mark.timeout(300)
def test_doctor_names_it_and_workers_refuse_what_loses_work(trial: Trial) -> None:
    kinds = [kind for kind in KINDS if binary(kind)]
    for kind in kinds:
        for name in WRONG:
            folder = trial.folder / f"{kind} {name}"
            folder.mkdir()
            meet(folder, kind, *WRONG[name])
    trial.report(
        None,
        load=f"{len(WRONG)} settings on {' and '.join(kinds)}",
        counts={"settings": len(WRONG) * len(kinds), "named": len(WRONG) * len(kinds)},
        about="`doctor` exits 1 and names each; workers refuse those that lose accepted work, and warn of the others.",
    )


def meet(folder: Path, kind: Kind, settings: dict[str, str], check: str, says: str, refused: bool) -> None:
    """One server with one wrong setting."""
    with Server(folder / "server", kind=kind, tcp=True, **settings) as server:
        told = call(folder, server.url, "doctor", "--json")
        assert told.returncode == 1, told.stderr
        found = failing(told)
        assert list(found) == [check]
        assert says in found[check]
        if not refused:
            assert says in starts(folder, server)
            return
        worker = call(folder, server.url, "worker")
        assert worker.returncode == 1
        line, how = worker.stderr.strip().splitlines()
        assert line.startswith(f"{check}: ")
        assert says in line
        assert "ORCHESTRATOR_ALLOW_WEAK_SERVER=1" in how


def test_run_and_up_refuse_before_anything_is_stored_and_name_everything(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("name: w\nsteps: [{id: a, set: {x: 1}}]\n")
    with Server(tmp_path / "server", tcp=True, **ALL_WRONG) as server:
        for words in (("run", str(file)), ("up", "--no-flower"), ("worker",)):
            told = call(tmp_path, server.url, *words)
            assert told.returncode == 1, words
            lines = told.stderr.strip().splitlines()
            assert [line.partition(":")[0] for line in lines[:-1]] == ["durability", "eviction", "access"]
        assert server.call("DBSIZE") == 0
        assert "no append-only file" in starts(tmp_path, server, ORCHESTRATOR_ALLOW_WEAK_SERVER="1")
        allowed = call(tmp_path, server.url, "run", str(file), ORCHESTRATOR_ALLOW_WEAK_SERVER="1")
        assert allowed.returncode == 0, allowed.stderr


@pytest.mark.parametrize(("durability", "says"), [("", "the last two"), ("always", "it costs nothing")])
def test_on_the_embedded_server_every_second_is_a_note(tmp_path: Path, durability: str, says: str) -> None:
    more = {"ORCHESTRATOR_DURABILITY": durability} if durability else {}
    told = call(tmp_path, None, "doctor", "--json", **more)
    assert told.returncode == 0, told.stdout
    [check] = [check for check in json.loads(told.stdout)["checks"] if check["check"] == "power cut"]
    assert check["status"] == "ok"
    assert says in check["detail"]
